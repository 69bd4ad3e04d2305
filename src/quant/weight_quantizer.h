// Weights as small whole numbers: round to nearest (RTN) with a scale for each tensor, output channel or group.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/quantized_tensor.h"
#include "model/gemm.h"

namespace spikescope {

/// How a scale is chosen for its values.
enum class WeightClip : uint8_t {
  absmax,  ///< none is clipped
  mse,     ///< the range is shrunk, by per cents down to a half, to where the squared error is least
};

/// Everything about one rounding.
struct Rounding {
  WeightFormat format;
  WeightClip clip = WeightClip::absmax;
  /// Scales are rounded to this before anything is rounded with them: "F32", "F16" or "BF16".
  std::string scale_type = "F32";
};

/// A value rounded to F32, F16 or BF16, and values stored as such.
float round_to_type(const std::string& type, float value);
std::vector<std::byte> floats_as(const std::string& type, std::span<const float> values);

/// A scale and a zero point: q = round(w / scale) + zero, cut to the format's range; w = (q - zero) * scale.
struct Scale {
  float scale = 1.0f;
  int zero = 0;
};

/// The scale for values that share one. Symmetric: largest magnitude on 2^(bits-1) - 1/2, so that the range
/// [-2^(bits-1), 2^(bits-1) - 1] is used on both sides (the largest positive value is clipped by half a step);
/// asymmetric: [min, max], with 0 in it, on the whole range, 0 exact. All values 0: scale 1. Throws Error for values
/// that are not finite.
Scale choose_scale(std::span<const float> values, const Rounding& rounding);

/// q of one value.
int quantize_value(float value, Scale scale, int bits);
inline float dequantize_value(int q, Scale scale) { return static_cast<float>(q - scale.zero) * scale.scale; }

/// A matrix in whole numbers.
struct QuantizedMatrix {
  int64_t rows = 0, columns = 0;
  std::vector<int8_t> values;  ///< [rows, columns]
  std::vector<Scale> scales;   ///< [scale rows, scales a row], as the format has them

  /// The scale of a value.
  const Scale& scale(const WeightFormat& format, int64_t row, int64_t column) const;
};

/// Throws UsageError, naming `what`, when the format's groups do not divide so many columns.
void check_groups(const WeightFormat& format, int64_t columns, std::string_view what);

/// All scales of a matrix, [scale rows, scales a row], on all threads.
std::vector<Scale> choose_scales(ConstMatrixView weights, const Rounding& rounding);

/// Each value rounded to the nearest. On all threads.
QuantizedMatrix round_to_nearest(ConstMatrixView weights, const Rounding& rounding);

/// The tensors of a matrix as compressed-tensors names them, ready to be written: name, shape, dtype, bytes.
struct StoredPart {
  std::string suffix;  ///< "weight_packed", "weight_scale", ...
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
/// Their suffixes, dtypes and shapes, without bytes.
std::vector<StoredPart> stored_parts(int64_t rows, int64_t columns, const Rounding& rounding);
/// With bytes.
std::vector<StoredPart> stored_parts(const QuantizedMatrix& matrix, const Rounding& rounding);

}  // namespace spikescope
