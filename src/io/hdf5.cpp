#include "io/hdf5.h"

#include <algorithm>

#include "base/fail.h"
#include "io/hdf5_file.h"
#include "io/posix_file.h"
#include "io/printable.h"

namespace spikescope {
namespace {

// Layer files that stay open behind the external links of an index, so that reading layer after layer does not open a
// file for every read.
constexpr unsigned kLinkedFilesKeptOpen = 4;

Hdf5Handle access_properties() {
  Hdf5Handle properties(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(properties.get(), H5F_CLOSE_STRONG);
  H5Pset_elink_file_cache_size(properties.get(), kLinkedFilesKeptOpen);
  // Since 1.8 (2008) the format has checksums on its structures: a damaged file is an error, where older forms of it
  // can crash the library.
  H5Pset_libver_bounds(properties.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST);
#if H5_VERSION_GE(1, 10, 7) && !(H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE == 0)
  // Network file systems without locks are common where models are; the library's default is to fail on them.
  H5Pset_file_locking(properties.get(), true, true);
#endif
  return properties;
}

Hdf5Handle link_properties() {
  Hdf5Handle properties(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(properties.get(), 1);
  H5Pset_char_encoding(properties.get(), H5T_CSET_UTF8);
  return properties;
}

// Called from C: no exception may leave it.
herr_t add_name(hid_t, const char* name, const H5L_info_t*, void* names) {
  try {
    static_cast<std::vector<std::string>*>(names)->emplace_back(name);
    return 0;
  } catch (...) {
    return -1;
  }
}

void set_scalar_attribute(const H5File::Impl& file, const std::string& object, const std::string& name, hid_t type,
                          const void* value) {
  const Hdf5Handle owner = file.open_object(object);
  if (H5Aexists(owner.get(), name.c_str()) > 0) H5Adelete(owner.get(), name.c_str());
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(H5Acreate2(owner.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  if (!attribute || H5Awrite(attribute.get(), type, value) < 0) {
    fail_hdf5(file.path, fmt::format("write the attribute {} of {}", name, object));
  }
}

// Opens a scalar attribute of the class; `kind` says what that is in messages.
Hdf5Handle open_attribute(const H5File::Impl& file, const std::string& object, const std::string& name,
                          H5T_class_t type_class, std::string_view kind) {
  const Hdf5Handle owner = file.open_object(object);
  if (H5Aexists(owner.get(), name.c_str()) <= 0) {
    fail("{}: {} has no attribute \"{}\"; the file is of another kind or unfinished", file.path.string(), object, name);
  }
  Hdf5Handle attribute(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute) fail_hdf5(file.path, fmt::format("read the attribute {} of {}", name, object));
  const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const bool right_type =
      H5Tget_class(type.get()) == type_class && (type_class != H5T_STRING || H5Tis_variable_str(type.get()) > 0);
  if (!right_type || H5Sget_simple_extent_type(space.get()) != H5S_SCALAR) {
    fail("{}: attribute \"{}\" of {} should be {}; the file is of another kind or damaged", file.path.string(), name,
         object, kind);
  }
  return attribute;
}

}  // namespace

std::string H5File::Impl::checked(std::string_view object) const {
  if (!file) fail_usage("{}: {} is asked for after the file was closed", path.string(), object);
  const bool well_formed = object.starts_with('/') && object.find("//") == object.npos &&
                           object.find('\0') == object.npos && (object.size() == 1 || !object.ends_with('/'));
  if (!well_formed)
    fail_usage("{}: \"{}\" is no path of an HDF5 object; write it like /blocks/3/resid_post", path.string(), object);
  return std::string(object);
}

// Component by component, since the library's own test fails where a group on the way is missing.
bool H5File::Impl::exists(const std::string& object) const {
  if (object == "/") return true;
  bool own_file = true;
  for (size_t end = 0; end != object.npos;) {
    end = object.find('/', end + 1);
    const std::string prefix = object.substr(0, end);
    const htri_t link = H5Lexists(file.get(), prefix.c_str(), H5P_DEFAULT);
    if (link < 0) fail_hdf5(path, fmt::format("look up {}", prefix));
    if (link == 0) return false;
    H5L_info_t info;
    if (own_file && H5Lget_info(file.get(), prefix.c_str(), &info, H5P_DEFAULT) >= 0 &&
        info.type == H5L_TYPE_EXTERNAL) {
      check_external(prefix);
      own_file = false;
    }
    if (H5Oexists_by_name(file.get(), prefix.c_str(), H5P_DEFAULT) <= 0)
      fail_hdf5(path, fmt::format("open {}", prefix));
  }
  return true;
}

// The library looks for the linked file in the current folder too; a dump must not take its layers from there.
void H5File::Impl::check_external(const std::string& link) const {
  H5L_info_t info;
  constexpr size_t kLongestLink = 64 << 10;
  if (H5Lget_info(file.get(), link.c_str(), &info, H5P_DEFAULT) < 0 || info.u.val_size > kLongestLink) {
    fail_hdf5(path, fmt::format("read the external link {}", link));
  }
  std::vector<char> value(info.u.val_size);
  const char *name = nullptr, *target = nullptr;
  if (H5Lget_val(file.get(), link.c_str(), value.data(), value.size(), H5P_DEFAULT) < 0 ||
      H5Lunpack_elink_val(value.data(), value.size(), nullptr, &name, &target) < 0) {
    fail_hdf5(path, fmt::format("read the external link {}", link));
  }
  const std::filesystem::path linked = path.parent_path() / name;
  std::error_code error;
  if (!std::filesystem::is_regular_file(linked, error)) {
    fail("{}: {} lies in the file {}, which is missing; put it back, or write {} again", path.string(), link,
         printable(linked.string(), 300), path.string());
  }
  if (H5Oexists_by_name(file.get(), link.c_str(), H5P_DEFAULT) > 0) return;
  const Hdf5Handle opened(H5Fopen(linked.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!opened) fail_hdf5(linked, "read");
  fail("{}: has no {}, which {} expects there; write both again", linked.string(), printable(target), path.string());
}

Hdf5Handle H5File::Impl::open_object(const std::string& object) const {
  if (!exists(object)) fail("{}: has no {}; the file is unfinished, or was written without it", path.string(), object);
  Hdf5Handle opened(H5Oopen(file.get(), object.c_str(), H5P_DEFAULT), H5Oclose);
  if (!opened) fail_hdf5(path, fmt::format("open {}", object));
  return opened;
}

Hdf5Handle H5File::Impl::open_dataset(const std::string& dataset) const {
  Hdf5Handle opened = open_object(dataset);
  if (H5Iget_type(opened.get()) != H5I_DATASET) fail("{}: {} is no dataset", path.string(), dataset);
  return opened;
}

H5File::H5File(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
H5File::H5File(H5File&&) noexcept = default;

H5File& H5File::operator=(H5File&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

H5File::~H5File() {
  if (!impl_) return;
  const Hdf5Session session;
  impl_.reset();
}

H5File H5File::create(const std::filesystem::path& path) {
  const Hdf5Session session;
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  const Hdf5Handle properties = access_properties();
  impl->file = Hdf5Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, properties.get()), H5Fclose);
  if (!impl->file) fail_hdf5(path, "create");
  return H5File(std::move(impl));
}

H5File H5File::open(const std::filesystem::path& path) {
  PosixFile::open(path);  // says what is wrong with a missing file, a folder or a pipe
  const Hdf5Session session;
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  const Hdf5Handle properties = access_properties();
  impl->file = Hdf5Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, properties.get()), H5Fclose);
  if (!impl->file) fail_hdf5(path, "read");
  return H5File(std::move(impl));
}

void H5File::close() {
  const Hdf5Session session;
  impl_->filling.clear();
  if (impl_->file && H5Fclose(impl_->file.release()) < 0) fail_hdf5(impl_->path, "write");
}

bool H5File::has(std::string_view dataset) const {
  const Hdf5Session session;
  return impl_->exists(impl_->checked(dataset));
}

std::vector<std::string> H5File::children(std::string_view group) const {
  const Hdf5Session session;
  const std::string name = impl_->checked(group);
  std::vector<std::string> names;
  if (!impl_->exists(name)) return names;
  const Hdf5Handle opened = impl_->open_object(name);
  if (H5Iget_type(opened.get()) != H5I_GROUP) fail("{}: {} is no group", impl_->path.string(), name);
  if (H5Literate(opened.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, add_name, &names) < 0) {
    fail_hdf5(impl_->path, fmt::format("list {}", name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void H5File::set_attribute(std::string_view object, std::string_view name, std::string_view value) {
  const Hdf5Session session;
  const std::string text(value);
  if (text.find('\0') != text.npos)
    fail("{}: attribute \"{}\" holds a NUL, where HDF5 would cut it", impl_->path.string(), name);
  const char* pointer = text.c_str();
  const Hdf5Handle type = make_string_type();
  set_scalar_attribute(*impl_, impl_->checked(object), std::string(name), type.get(), &pointer);
}

void H5File::set_attribute(std::string_view object, std::string_view name, int64_t value) {
  const Hdf5Session session;
  set_scalar_attribute(*impl_, impl_->checked(object), std::string(name), H5T_NATIVE_INT64, &value);
}

std::string H5File::string_attribute(std::string_view object, std::string_view name) const {
  const Hdf5Session session;
  const Hdf5Handle attribute =
      open_attribute(*impl_, impl_->checked(object), std::string(name), H5T_STRING, "a string");
  const Hdf5Handle type = make_string_type();
  char* text = nullptr;
  if (H5Aread(attribute.get(), type.get(), &text) < 0)
    fail_hdf5(impl_->path, fmt::format("read the attribute {}", name));
  const std::unique_ptr<char, void (*)(char*)> owner(text, [](char* memory) { H5free_memory(memory); });
  return text ? text : "";
}

int64_t H5File::int_attribute(std::string_view object, std::string_view name) const {
  const Hdf5Session session;
  const Hdf5Handle attribute =
      open_attribute(*impl_, impl_->checked(object), std::string(name), H5T_INTEGER, "an integer");
  int64_t value = 0;
  if (H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0)
    fail_hdf5(impl_->path, fmt::format("read the attribute {}", name));
  return value;
}

bool H5File::has_attribute(std::string_view object, std::string_view name) const {
  const Hdf5Session session;
  const std::string owner = impl_->checked(object);
  return impl_->exists(owner) && H5Aexists(impl_->open_object(owner).get(), std::string(name).c_str()) > 0;
}

void H5File::link_external(std::string_view link, std::string_view file, std::string_view target) {
  const Hdf5Session session;
  const Hdf5Handle properties = link_properties();
  if (H5Lcreate_external(std::string(file).c_str(), std::string(target).c_str(), impl_->file.get(),
                         impl_->checked(link).c_str(), properties.get(), H5P_DEFAULT) < 0) {
    fail_hdf5(impl_->path, fmt::format("make the link {}", link));
  }
}

}  // namespace spikescope
