// Datasets of H5File: making, writing, and reading them with every claim of their headers checked first.
#include <algorithm>
#include <memory>
#include <type_traits>

#include "base/fail.h"
#include "io/float16.h"
#include "io/hdf5.h"
#include "io/hdf5_file.h"

namespace spikescope {
namespace {

constexpr int64_t kChunkBytes = 1 << 20;
constexpr size_t kChunkCacheBytes = 8 << 20;
// The most that deflate can shrink: 258 bytes to two bits.
constexpr int64_t kLargestDeflateRatio = 1032;

template <class T>
hid_t memory_type() {
  if constexpr (std::is_same_v<T, float>) return H5T_NATIVE_FLOAT;
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
  if constexpr (std::is_same_v<T, int64_t>) return H5T_NATIVE_INT64;
}

template <class T>
hid_t file_type() {
  if constexpr (std::is_same_v<T, float>) return H5T_IEEE_F32LE;
  if constexpr (std::is_same_v<T, double>) return H5T_IEEE_F64LE;
  if constexpr (std::is_same_v<T, int64_t>) return H5T_STD_I64LE;
}

std::string describe(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

struct Extent {
  std::vector<int64_t> shape;
  int64_t values = 1;

  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t row_size() const { return values == 0 ? 0 : values / rows(); }
};

Extent make_extent(const H5File::Impl& file, const std::string& dataset, std::span<const int64_t> shape) {
  Extent extent{{shape.begin(), shape.end()}, 1};
  // 16 bytes, the largest element there is, must be countable too.
  int64_t bytes = 16;
  for (const int64_t size : shape) {
    if (size < 0 || (size > 0 && __builtin_mul_overflow(bytes, size, &bytes))) {
      fail("{}: {} has the impossible shape {}; the file is damaged", file.path.string(), dataset, describe(shape));
    }
    extent.values *= size;
  }
  return extent;
}

Extent extent_of(const H5File::Impl& file, const std::string& dataset, hid_t id) {
  const Hdf5Handle space(H5Dget_space(id), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0 || H5Sget_simple_extent_type(space.get()) == H5S_NULL) {
    fail("{}: {} has no values at all; the file is damaged", file.path.string(), dataset);
  }
  std::vector<hsize_t> sizes(rank);
  if (H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr) < 0) {
    fail_hdf5(file.path, fmt::format("read the shape of {}", dataset));
  }
  std::vector<int64_t> shape;
  for (const hsize_t size : sizes) shape.push_back(size > INT64_MAX ? -1 : static_cast<int64_t>(size));
  return make_extent(file, dataset, shape);
}

// Throws unless the file holds the values that the header claims: whoever allocates for them allocates what is there.
void require_stored(const H5File::Impl& file, const std::string& dataset, hid_t id, const Extent& extent,
                    int64_t value_size) {
  const Hdf5Handle properties(H5Dget_create_plist(id), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties.get());
  const bool chunked = layout == H5D_CHUNKED;
  if ((!chunked && layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) || H5Pget_external_count(properties.get()) != 0) {
    fail("{}: {} keeps its values outside the file, which is not supported; write it plainly", file.path.string(),
         dataset);
  }
  for (int i = 0; chunked && i < H5Pget_nfilters(properties.get()); ++i) {
    unsigned flags = 0;
    size_t parameters = 0;
    const H5Z_filter_t filter = H5Pget_filter2(properties.get(), i, &flags, &parameters, nullptr, 0, nullptr, nullptr);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE) {
      fail("{}: {} is stored with filter {}; only gzip and shuffle are supported", file.path.string(), dataset,
           static_cast<int>(filter));
    }
  }
  hsize_t file_size = 0;
  const Hdf5Handle own_file(H5Iget_file_id(id), H5Fclose);
  if (H5Fget_filesize(own_file.get(), &file_size) < 0) fail_hdf5(file.path, fmt::format("examine {}", dataset));
  const auto stored = static_cast<int64_t>(std::min(H5Dget_storage_size(id), file_size));
  const int64_t needed = extent.values * value_size;
  if ((chunked ? needed / kLargestDeflateRatio : needed) > stored) {
    fail("{}: {} should hold {} bytes as {}, the file has {} of them; it is damaged or unfinished", file.path.string(),
         dataset, needed, describe(extent.shape), stored);
  }
  if (chunked) {
    std::vector<hsize_t> chunk(extent.shape.size());
    if (H5Pget_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data()) < 0) {
      fail_hdf5(file.path, fmt::format("examine {}", dataset));
    }
    for (size_t i = 0; i < chunk.size(); ++i) {
      if (chunk[i] > static_cast<hsize_t>(std::max<int64_t>(extent.shape[i], 1))) {
        fail("{}: {} has chunks larger than its shape {}; the file is damaged", file.path.string(), dataset,
             describe(extent.shape));
      }
    }
  }
}

// Whole rows, as many as give about a mebibyte; parts of a row where a single one is larger.
std::vector<hsize_t> chunk_shape(const Extent& extent, int64_t value_size) {
  std::vector<hsize_t> chunk(extent.shape.begin(), extent.shape.end());
  int64_t bytes = extent.values * value_size;
  for (size_t i = 0; i < chunk.size() && bytes > kChunkBytes; ++i) {
    const int64_t one = bytes / static_cast<int64_t>(chunk[i]);
    chunk[i] = static_cast<hsize_t>(std::max<int64_t>(kChunkBytes / one, 1));
    bytes = one * static_cast<int64_t>(chunk[i]);
  }
  return chunk;
}

Hdf5Handle create_dataset(const H5File::Impl& file, const std::string& dataset, const Extent& extent, hid_t type,
                          int gzip) {
  const std::vector<hsize_t> sizes(extent.shape.begin(), extent.shape.end());
  const Hdf5Handle space(
      sizes.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr),
      H5Sclose);
  const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  H5Pset_char_encoding(links.get(), H5T_CSET_UTF8);
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const Hdf5Handle access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);  // the same capture gives the same bytes
  const bool strings = H5Tget_class(type) == H5T_STRING;
  if (!strings) H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  if (gzip > 0 && !strings && extent.values > 0 && !sizes.empty()) {
    const auto chunk = chunk_shape(extent, static_cast<int64_t>(H5Tget_size(type)));
    H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
    H5Pset_shuffle(creation.get());
    if (H5Pset_deflate(creation.get(), static_cast<unsigned>(gzip)) < 0) {
      fail_usage("{}: {}: gzip level {} is not between 1 and 9", file.path.string(), dataset, gzip);
    }
    H5Pset_chunk_cache(access.get(), 17, kChunkCacheBytes, 1.0);
  }
  Hdf5Handle created(
      H5Dcreate2(file.file.get(), dataset.c_str(), type, space.get(), links.get(), creation.get(), access.get()),
      H5Dclose);
  if (!created) fail_hdf5(file.path, fmt::format("create the dataset {}", dataset));
  return created;
}

// Dataspaces of rows [first, first + count) in the file and of as many values in memory.
struct Selection {
  Hdf5Handle file, memory;
};

Selection select_rows(hid_t dataset, const Extent& extent, int64_t first, int64_t count) {
  Selection selection{Hdf5Handle(H5Dget_space(dataset), H5Sclose), {}};
  const auto values = static_cast<hsize_t>(count * extent.row_size());
  selection.memory = Hdf5Handle(H5Screate_simple(1, &values, nullptr), H5Sclose);
  if (!extent.shape.empty()) {
    std::vector<hsize_t> start(extent.shape.size(), 0), size(extent.shape.begin(), extent.shape.end());
    start[0] = static_cast<hsize_t>(first);
    size[0] = static_cast<hsize_t>(count);
    H5Sselect_hyperslab(selection.file.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr);
  }
  return selection;
}

void check_rows(const H5File::Impl& file, const std::string& dataset, const Extent& extent, int64_t first,
                int64_t count) {
  if (first < 0 || count < 0 || first > extent.rows() || count > extent.rows() - first) {
    fail_usage("{}: {} has {} rows, but {} from row {} on were asked for", file.path.string(), dataset, extent.rows(),
               count, first);
  }
}

template <class T>
void put_rows(const H5File::Impl& file, const std::string& dataset, hid_t id, const Extent& extent, int64_t first,
              int64_t count, std::span<const T> values) {
  if (values.empty()) return;
  const void* data = values.data();
  Hdf5Handle half_type;
  std::unique_ptr<uint16_t[]> halves;
  if constexpr (std::is_same_v<T, float>) {
    const Hdf5Handle stored(H5Dget_type(id), H5Tclose);
    if (H5Tget_size(stored.get()) == 2) {
      if (const auto beyond = first_beyond_float16(values)) {
        fail("{}: {}, row {}: {} does not fit float16, which ends at 65504; store float32 instead", file.path.string(),
             dataset, first + *beyond / extent.row_size(), values[*beyond]);
      }
      // The library would convert value by value, several times slower than the disk.
      halves = std::make_unique_for_overwrite<uint16_t[]>(values.size());
      floats_to_float16(values, halves.get());
      data = halves.get();
      half_type = make_float16_type();
    }
  }
  const Selection selection = select_rows(id, extent, first, count);
  if (H5Dwrite(id, half_type ? half_type.get() : memory_type<T>(), selection.memory.get(), selection.file.get(),
               H5P_DEFAULT, data) < 0) {
    fail_hdf5(file.path, fmt::format("write {}", dataset));
  }
}

template <class T>
std::vector<T> get_rows(const H5File::Impl& file, const std::string& dataset, hid_t id, const Extent& extent,
                        int64_t first, int64_t count) {
  const Hdf5Handle stored(H5Dget_type(id), H5Tclose);
  const H5T_class_t wanted = std::is_floating_point_v<T> ? H5T_FLOAT : H5T_INTEGER;
  if (H5Tget_class(stored.get()) != wanted) {
    fail("{}: {} does not hold {}; the file is of another kind or damaged", file.path.string(), dataset,
         wanted == H5T_FLOAT ? "floating-point numbers" : "integers");
  }
  require_stored(file, dataset, id, extent, static_cast<int64_t>(H5Tget_size(stored.get())));
  check_rows(file, dataset, extent, first, count);
  std::vector<T> values(static_cast<size_t>(count * extent.row_size()));
  if (values.empty()) return values;
  const Selection selection = select_rows(id, extent, first, count);
  const auto read_into = [&](hid_t type, void* data) {
    if (H5Dread(id, type, selection.memory.get(), selection.file.get(), H5P_DEFAULT, data) < 0) {
      fail_hdf5(file.path, fmt::format("read {}", dataset));
    }
  };
  if constexpr (std::is_same_v<T, float>) {
    const Hdf5Handle half_type = make_float16_type();
    if (H5Tequal(stored.get(), half_type.get()) > 0) {
      const auto halves = std::make_unique_for_overwrite<uint16_t[]>(values.size());
      read_into(half_type.get(), halves.get());
      float16_to_floats({halves.get(), values.size()}, values.data());
      return values;
    }
  }
  read_into(memory_type<T>(), values.data());
  return values;
}

// Memory for the strings of one read, with an upper bound: strings of a sound file are no longer than the file. The
// library calls allocate() from C, so nothing may be thrown.
class StringArena {
 public:
  explicit StringArena(size_t limit) : left_(limit) {}
  static void* allocate(size_t size, void* arena) {
    try {
      return static_cast<StringArena*>(arena)->take(size);
    } catch (...) {
      return nullptr;
    }
  }
  static void release(void*, void*) {}  // all at once, with the arena

 private:
  void* take(size_t size) {
    if (size > left_) return nullptr;
    left_ -= size;
    if (size > room_) {
      constexpr size_t kBlock = 1 << 20;
      room_ = std::max(size, kBlock);
      blocks_.push_back(std::make_unique_for_overwrite<char[]>(room_));
      next_ = blocks_.back().get();
    }
    room_ -= size;
    return std::exchange(next_, next_ + size);
  }

  size_t left_, room_ = 0;
  char* next_ = nullptr;
  std::vector<std::unique_ptr<char[]>> blocks_;
};

std::vector<std::string> get_strings(const H5File::Impl& file, const std::string& dataset, hid_t id,
                                     const Extent& extent) {
  const Hdf5Handle stored(H5Dget_type(id), H5Tclose);
  if (H5Tget_class(stored.get()) != H5T_STRING || H5Tis_variable_str(stored.get()) <= 0) {
    fail("{}: {} does not hold variable-length strings; the file is of another kind or damaged", file.path.string(),
         dataset);
  }
  require_stored(file, dataset, id, extent, sizeof(char*));  // a reference in the file is larger than a pointer
  if (extent.values == 0) return {};
  hsize_t file_size = 0;
  const Hdf5Handle own_file(H5Iget_file_id(id), H5Fclose);
  if (H5Fget_filesize(own_file.get(), &file_size) < 0) fail_hdf5(file.path, fmt::format("examine {}", dataset));
  StringArena arena(file_size + static_cast<size_t>(extent.values));
  const Hdf5Handle transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  H5Pset_vlen_mem_manager(transfer.get(), StringArena::allocate, &arena, StringArena::release, &arena);
  const Hdf5Handle type = make_string_type();
  std::vector<char*> pointers(static_cast<size_t>(extent.values), nullptr);
  if (H5Dread(id, type.get(), H5S_ALL, H5S_ALL, transfer.get(), pointers.data()) < 0) {
    fail_hdf5(file.path, fmt::format("read {}", dataset));
  }
  std::vector<std::string> values;
  values.reserve(pointers.size());
  for (const char* text : pointers) values.emplace_back(text ? text : "");
  return values;
}

void put_strings(const H5File::Impl& file, const std::string& dataset, hid_t id, std::span<const std::string> values) {
  std::vector<const char*> pointers;
  pointers.reserve(values.size());
  for (const std::string& text : values) {
    if (text.find('\0') != text.npos) {
      fail("{}: {}: string {} holds a NUL, where HDF5 would cut it", file.path.string(), dataset, pointers.size());
    }
    pointers.push_back(text.c_str());
  }
  const Hdf5Handle type = make_string_type();
  if (!pointers.empty() && H5Dwrite(id, type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()) < 0) {
    fail_hdf5(file.path, fmt::format("write {}", dataset));
  }
}

}  // namespace

template <class T>
void H5File::write(std::string_view dataset, std::span<const int64_t> shape, std::span<const T> values,
                   H5Storage storage) {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  const Extent extent = make_extent(*impl_, name, shape);
  if (extent.values != static_cast<int64_t>(values.size())) {
    fail_usage("{}: {} of shape {} takes {} values, {} were given", impl_->path.string(), name, describe(shape),
               extent.values, values.size());
  }
  if constexpr (std::is_same_v<T, std::string>) {
    const Hdf5Handle type = make_string_type();
    put_strings(*impl_, name, create_dataset(*impl_, name, extent, type.get(), 0).get(), values);
  } else {
    if (storage.half && !std::is_same_v<T, float>)
      fail_usage("{}: {}: float16 is for float32 values", impl_->path.string(), name);
    const Hdf5Handle half_type = make_float16_type();
    const Hdf5Handle created =
        create_dataset(*impl_, name, extent, storage.half ? half_type.get() : file_type<T>(), storage.gzip);
    put_rows(*impl_, name, created.get(), extent, 0, extent.rows(), values);
  }
}

template <class T>
void H5File::write(std::string_view dataset, const std::vector<T>& values) {
  const auto size = static_cast<int64_t>(values.size());
  write<T>(dataset, std::span(&size, 1), std::span<const T>(values));
}

template <class T>
std::vector<T> H5File::read(std::string_view dataset) const {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  const Hdf5Handle opened = impl_->open_dataset(name);
  const Extent extent = extent_of(*impl_, name, opened.get());
  if constexpr (std::is_same_v<T, std::string>) {
    return get_strings(*impl_, name, opened.get(), extent);
  } else {
    return get_rows<T>(*impl_, name, opened.get(), extent, 0, extent.rows());
  }
}

#define SPIKESCOPE_H5_TYPE(T)                                                                                \
  template void H5File::write<T>(std::string_view, std::span<const int64_t>, std::span<const T>, H5Storage); \
  template void H5File::write<T>(std::string_view, const std::vector<T>&);                                   \
  template std::vector<T> H5File::read<T>(std::string_view) const;
SPIKESCOPE_H5_TYPE(float)
SPIKESCOPE_H5_TYPE(double)
SPIKESCOPE_H5_TYPE(int64_t)
SPIKESCOPE_H5_TYPE(std::string)
#undef SPIKESCOPE_H5_TYPE

std::vector<int64_t> H5File::shape(std::string_view dataset) const {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  return extent_of(*impl_, name, impl_->open_dataset(name).get()).shape;
}

void H5File::declare(std::string_view dataset, std::span<const int64_t> shape, H5Storage storage) {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  if (shape.empty()) fail_usage("{}: {} needs a first dimension to be filled along", impl_->path.string(), name);
  const Extent extent = make_extent(*impl_, name, shape);
  const Hdf5Handle half_type = make_float16_type();
  Hdf5Handle created =
      create_dataset(*impl_, name, extent, storage.half ? half_type.get() : H5T_IEEE_F32LE, storage.gzip);
  if (extent.values > 0) impl_->filling.insert_or_assign(name, Impl::Filling{std::move(created), extent.rows()});
}

void H5File::write_rows(std::string_view dataset, int64_t first, int64_t count, std::span<const float> values) {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  const auto filling = impl_->filling.find(name);
  Hdf5Handle opened;
  if (filling == impl_->filling.end()) opened = impl_->open_dataset(name);
  const hid_t id = opened ? opened.get() : filling->second.dataset.get();
  const Extent extent = extent_of(*impl_, name, id);
  check_rows(*impl_, name, extent, first, count);
  if (count * extent.row_size() != static_cast<int64_t>(values.size())) {
    fail_usage("{}: {} rows of {} take {} values, {} were given", impl_->path.string(), count, name,
               count * extent.row_size(), values.size());
  }
  put_rows<float>(*impl_, name, id, extent, first, count, values);
  if (filling != impl_->filling.end() && (filling->second.rows_left -= count) <= 0) impl_->filling.erase(filling);
}

std::vector<float> H5File::read_rows(std::string_view dataset, int64_t first, int64_t count) const {
  const Hdf5Session session;
  const std::string name = impl_->checked(dataset);
  const Hdf5Handle opened = impl_->open_dataset(name);
  const Extent extent = extent_of(*impl_, name, opened.get());
  if (extent.shape.empty()) fail_usage("{}: {} is a single value without rows", impl_->path.string(), name);
  return get_rows<float>(*impl_, name, opened.get(), extent, first, count);
}

}  // namespace spikescope
