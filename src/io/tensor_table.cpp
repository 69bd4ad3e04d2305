#include "io/tensor_table.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"
#include "base/nearest.h"
#include "base/parallel.h"
#include "io/mapped_file.h"
#include "io/printable.h"
#include "io/quantized_tensor.h"

namespace spikescope {
namespace {

// Some ten microseconds of work.
constexpr int64_t kChunkValues = int64_t{1} << 15;

// Names longer than this and tables larger than that are not searched for a similar name: only a damaged or hostile
// file has them, and the search takes time of their product.
constexpr size_t kLongestCompared = 200;
constexpr size_t kMostCompared = 100'000;

int64_t rows_of(const TensorInfo& tensor) { return tensor.shape.empty() ? 1 : tensor.shape[0]; }

[[noreturn]] void fail_unreadable(const TensorInfo& tensor) {
  fail("{}: tensor \"{}\" has the type {}, which cannot be read as floats; use a checkpoint whose types are among {}",
       tensor.file, printable(tensor.name), tensor.format->name, readable_formats());
}

}  // namespace

int64_t TensorInfo::values() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

int64_t TensorInfo::row_size() const {
  return shape.empty() ? 1 : std::accumulate(shape.begin() + 1, shape.end(), int64_t{1}, std::multiplies<>());
}

int64_t TensorInfo::stored_bytes() const {
  return quantized ? quantized->stored_bytes() : static_cast<int64_t>(bytes.size());
}

void TensorTable::add(TensorInfo tensor) {
  const auto [place, added] = index_.emplace(tensor.name, tensors_.size());
  if (!added) {
    fail("{}: tensor \"{}\" occurs twice (first in {}); the checkpoint is damaged, fetch or convert it again",
         tensor.file, printable(tensor.name), tensors_[place->second].file);
  }
  tensors_.push_back(std::move(tensor));
}

void TensorTable::keep(std::shared_ptr<const MappedFile> file) { files_.push_back(std::move(file)); }

const TensorInfo* TensorTable::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& TensorTable::require(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  const std::string file = !tensors_.empty() ? tensors_[0].file
                           : !files_.empty() ? files_[0]->path().string()
                                             : "checkpoint";
  if (tensors_.empty()) fail("{}: there is no tensor \"{}\": the file holds no tensors at all", file, printable(name));

  const TensorInfo* nearest = &tensors_[0];
  size_t least = std::string::npos;
  for (size_t i = 0; i < std::min(tensors_.size(), kMostCompared) && name.size() <= kLongestCompared; ++i) {
    if (tensors_[i].name.size() > kLongestCompared) continue;
    const size_t distance = edit_distance(name, tensors_[i].name);
    if (distance < least) {
      least = distance;
      nearest = &tensors_[i];
    }
  }
  fail(
      "{}: there is no tensor \"{}\" among its {} tensors; the nearest name is \"{}\". The checkpoint is incomplete or "
      "of another model family",
      nearest->file, printable(name), tensors_.size(), printable(nearest->name));
}

void read_values(const TensorInfo& tensor, int64_t first, int64_t count, float* out) {
  const ValueFormat& format = *tensor.format;
  if (!tensor.readable()) fail_unreadable(tensor);
  if (first < 0 || count < 0 || first > tensor.values() || count > tensor.values() - first)
    fail("{}: tensor \"{}\" has {} values, [{}, {} + {}) were asked for", tensor.file, printable(tensor.name),
         tensor.values(), first, first, count);
  if (first % format.block_values != 0 || count % format.block_values != 0)
    fail("{}: values [{}, {} + {}) of tensor \"{}\" are not whole {} blocks of {} values; read the whole tensor",
         tensor.file, first, first, count, printable(tensor.name), format.name, format.block_values);

  if (tensor.quantized) {
    parallel_for_ranges(count, kChunkValues, [&](int64_t begin, int64_t end) {
      tensor.quantized->read(first + begin, end - begin, out + begin);
    });
    return;
  }

  const int64_t blocks = count / format.block_values;
  const int64_t first_byte = first / format.block_values * format.block_bytes;
  if (first_byte + blocks * format.block_bytes > static_cast<int64_t>(tensor.bytes.size()))
    fail("{}: tensor \"{}\" has {} bytes, its shape needs more; fetch or convert the checkpoint again", tensor.file,
         printable(tensor.name), tensor.bytes.size());
  const std::byte* data = tensor.bytes.data() + first_byte;
  const int64_t chunk = std::max<int64_t>(1, kChunkValues / format.block_values);
  parallel_for_ranges(blocks, chunk, [&](int64_t begin, int64_t end) {
    format.dequantize(data + begin * format.block_bytes, end - begin, out + begin * format.block_values);
  });
}

void read_rows(const TensorInfo& tensor, int64_t first, int64_t count, float* out) {
  const int64_t rows = rows_of(tensor);
  if (first < 0 || count < 0 || first > rows || count > rows - first)
    fail("{}: tensor \"{}\" has {} rows, [{}, {} + {}) were asked for", tensor.file, printable(tensor.name), rows,
         first, first, count);
  read_values(tensor, first * tensor.row_size(), count * tensor.row_size(), out);
}

std::vector<float> read_tensor(const TensorInfo& tensor) {
  if (!tensor.readable()) fail_unreadable(tensor);
  std::vector<float> values(static_cast<size_t>(tensor.values()));
  read_rows(tensor, 0, rows_of(tensor), values.data());
  return values;
}

}  // namespace spikescope
