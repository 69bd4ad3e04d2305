// Matrices of small whole numbers with scales beside them, as the compressed-tensors layout of Hugging Face keeps
// quantized weights: value = (q - zero point) * scale. A scale counts for the whole matrix, for a row (an output
// channel), or for so many columns of a row (a group).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/tensor_table.h"

namespace spikescope {

/// How a matrix is quantized. q lies in [-2^(bits-1), 2^(bits-1) - 1], zero points too.
struct WeightFormat {
  enum class Scope : uint8_t { tensor, channel, group };
  int bits = 8;  ///< 1 to 8
  Scope scope = Scope::channel;
  int64_t group = 0;      ///< columns of a row that share a scale, with Scope::group
  bool symmetric = true;  ///< without zero points
  /// Bits one after the other in 32-bit words, each row beginning with a word of its own; else a byte a value.
  bool packed = true;

  /// "4 bits, groups of 64, symmetric".
  std::string text() const;
  /// Scales a row (1 with Scope::tensor and Scope::channel), and rows of scales.
  int64_t scales_a_row(int64_t columns) const { return scope == Scope::group ? columns / group : 1; }
  int64_t scale_rows(int64_t rows) const { return scope == Scope::tensor ? 1 : rows; }
};

/// "tensor", "channel", "group", and the other way round: nothing for another name.
std::string_view scope_name(WeightFormat::Scope scope);
std::optional<WeightFormat::Scope> find_scope(std::string_view name);

/// 32-bit words that `count` values of `bits` bits take.
int64_t packed_words(int64_t count, int bits);
/// Packs q - (-2^(bits-1)), so that all are >= 0, the first value into the lowest bits; `words` has packed_words(...).
void pack_bits(std::span<const int8_t> values, int bits, uint32_t* words);

/// The tensors of one quantized matrix [rows, columns].
struct QuantizedParts {
  TensorInfo values;  ///< I32 [rows, words] if packed, else I8 [rows, columns]
  TensorInfo scales;  ///< F32, F16 or BF16, [rows, groups] (channel: [rows, 1] or [rows]; tensor: [1])
  std::optional<TensorInfo> zero_points;  ///< I8 shaped as the scales; packed along rows where the values are (not with
                                          ///< Scope::tensor)
  std::vector<int64_t> shape;             ///< of the matrix
};

/// The matrix as a tensor of this name, whose rows are read like any other's. Throws Error, naming file and tensor,
/// where shapes, types, sizes and `format` do not fit together. The bytes of the parts must outlive it.
TensorInfo quantized_tensor(const std::string& name, const QuantizedParts& parts, const WeightFormat& format);

/// The numbers behind such a tensor, for TensorInfo::quantized.
class QuantizedValues {
 public:
  QuantizedValues(const std::string& name, const QuantizedParts& parts, const WeightFormat& format);
  QuantizedValues(const QuantizedValues&) = delete;
  QuantizedValues& operator=(const QuantizedValues&) = delete;
  /// Values [first, first + count), rows one after the other. On the calling thread.
  void read(int64_t first, int64_t count, float* out) const;
  /// The whole numbers of columns [first, first + count) of a row.
  void read_integers(int64_t row, int64_t first, int64_t count, int8_t* out) const;

  const WeightFormat& format() const { return format_; }
  const ValueFormat& value_format() const { return value_format_; }
  /// Bytes of values, scales and zero points.
  int64_t stored_bytes() const;

 private:
  void read_row(int64_t row, int64_t first, int64_t count, float* out) const;
  int zero_point(int64_t row, int64_t group) const;

  WeightFormat format_;
  QuantizedParts parts_;
  int64_t rows_ = 0, columns_ = 0;
  int lanes_ = 0;  // > 0: so many values a word, the bits left over unused (older writers); 0: values cross words
  std::string name_;
  ValueFormat value_format_;
};

}  // namespace spikescope
