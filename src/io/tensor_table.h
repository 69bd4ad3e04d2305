// What a checkpoint's files hold, whatever their format: named tensors, each a range of bytes in a mapped file together
// with the format of its values. Nothing is converted until somebody reads rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spikescope {

class MappedFile;
class QuantizedValues;

/// How values are stored: one row of the table in io/value_format.cpp (F32, F16, BF16, Q8_0, Q4_K, ...).
struct ValueFormat {
  std::string_view name;         ///< as messages and `inspect` print it, e.g. "Q4_K"
  int gguf_type;                 ///< ggml type number in GGUF files; -1: does not occur there
  std::string_view safetensors;  ///< dtype string in safetensors files; empty: does not occur there
  int64_t block_values;          ///< values per block (1 for plain types)
  int64_t block_bytes;           ///< bytes per block
  /// Converts `blocks` consecutive blocks to float32. nullptr: known by name and size only, reading it is an error.
  void (*dequantize)(const std::byte* data, int64_t blocks, float* out);
  int mantissa_bits = 24;  ///< that its values have as floats at most, with the leading one
};

/// Row of the table for a ggml type number / a safetensors dtype string; nullptr when it is in neither.
const ValueFormat* find_gguf_format(int gguf_type);
const ValueFormat* find_safetensors_format(std::string_view dtype);
/// Names of the formats that can be read as floats, "F32, F16, ...", for messages.
std::string readable_formats();

/// One tensor. `shape` is outermost first, as Hugging Face prints it: a linear layer is [out, in].
struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;
  const ValueFormat* format = nullptr;
  std::span<const std::byte> bytes;  ///< inside the mapped file, checked against its size when the header was read
  std::string file;                  ///< file it lies in, for messages
  /// Set where the values are whole numbers with scales elsewhere (io/quantized_tensor.h); `bytes` are the former.
  std::shared_ptr<const QuantizedValues> quantized = nullptr;

  bool readable() const { return quantized || format->dequantize; }  ///< as floats
  int64_t stored_bytes() const;  ///< what it takes in its file
  int64_t values() const;    ///< product of the shape
  int64_t row_size() const;  ///< product of all but the first dimension (1 for a vector: each value is a row)
};

/// The tensors of a checkpoint (of all its shards), with the mappings that keep their bytes alive. Movable, not
/// copyable.
class TensorTable {
 public:
  /// Adds a tensor; throws Error when the name is taken already.
  void add(TensorInfo tensor);
  void keep(std::shared_ptr<const MappedFile> file);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// The mapped files, in the order of a checkpoint's parts.
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }
  /// nullptr when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// Throws Error naming the nearest existing name when there is no such tensor.
  const TensorInfo& require(std::string_view name) const;

 private:
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

/// Converts rows [first, first + count) of `tensor` to float32, `count * row_size()` values. Uses the machine's cores.
/// Throws Error when the rows are out of range, do not begin and end at a block's bounds, or the format (named) cannot
/// be read as floats. Safe to call from several threads; inside a parallel region it uses the calling thread alone.
void read_rows(const TensorInfo& tensor, int64_t first, int64_t count, float* out);

/// The same for values [first, first + count), rows one after the other.
void read_values(const TensorInfo& tensor, int64_t first, int64_t count, float* out);

/// The whole tensor as float32.
std::vector<float> read_tensor(const TensorInfo& tensor);

}  // namespace spikescope
