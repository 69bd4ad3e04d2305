#include "quant/weight_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"
#include "io/float16.h"

namespace spikescope {
namespace {

using Scope = WeightFormat::Scope;

/// Shrinking steps of WeightClip::mse, a per cent each.
constexpr int kSteps = 51;

float round_to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

int lowest(int bits) { return -(1 << (bits - 1)); }
int highest(int bits) { return (1 << (bits - 1)) - 1; }

/// The scale that puts [low, high] on the range of whole numbers.
Scale scale_for(float low, float high, const Rounding& rounding) {
  const int bits = rounding.format.bits;
  const float steps = static_cast<float>(highest(bits) - lowest(bits));
  Scale result;
  if (low == 0.0f && high == 0.0f) return result;
  const float wanted = rounding.format.symmetric ? 2.0f * std::max(-low, high) / steps : (high - low) / steps;
  result.scale = round_to_type(rounding.scale_type, wanted);
  // A scale too small for its type would make infinities.
  if (result.scale == 0.0f) result.scale = rounding.scale_type == "F16" ? 0x1p-24f : std::numeric_limits<float>::min();
  if (!rounding.format.symmetric) {
    const float zero = static_cast<float>(lowest(bits)) - low / result.scale;
    result.zero = static_cast<int>(
        std::nearbyint(std::clamp(zero, static_cast<float>(lowest(bits)), static_cast<float>(highest(bits)))));
  }
  return result;
}

/// Of some values, each between `low` and `high` steps.
SPIKESCOPE_VECTORIZED
float squared_error(const float* values, int64_t count, float scale, float low, float high) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no digit behind the point
  const float inverse = 1.0f / scale;
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    const float steps = std::min(std::max(values[i] * inverse, low), high);
    const float error = values[i] - ((steps + kRound) - kRound) * scale;
    sum += error * error;
  }
  return sum;
}

double squared_error(std::span<const float> values, Scale scale, int bits) {
  constexpr int64_t kPiece = 1024;  // summed in float
  const int64_t count = static_cast<int64_t>(values.size());
  double sum = 0.0;
  for (int64_t first = 0; first < count; first += kPiece)
    sum += static_cast<double>(squared_error(values.data() + first, std::min(kPiece, count - first), scale.scale,
                                             static_cast<float>(lowest(bits) - scale.zero),
                                             static_cast<float>(highest(bits) - scale.zero)));
  return sum;
}

template <class T>
std::vector<std::byte> as_bytes(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

float round_to_type(const std::string& type, float value) {
  if (type == "BF16") return round_to_bfloat16(value);
  if (type != "F16") return value;
  uint16_t half;
  floats_to_float16({&value, 1}, &half);
  float16_to_floats({&half, 1}, &value);
  return value;
}

std::vector<std::byte> floats_as(const std::string& type, std::span<const float> values) {
  std::vector<std::byte> bytes(values.size() * (type == "F32" ? 4 : 2));
  if (type == "F32") {
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else if (type == "F16") {
    floats_to_float16(values, reinterpret_cast<uint16_t*>(bytes.data()));
  } else {
    for (size_t i = 0; i < values.size(); ++i) {
      uint32_t bits;
      const float value = round_to_bfloat16(values[i]);
      std::memcpy(&bits, &value, sizeof bits);
      const auto upper = static_cast<uint16_t>(bits >> 16);
      std::memcpy(bytes.data() + i * sizeof upper, &upper, sizeof upper);
    }
  }
  return bytes;
}

Scale choose_scale(std::span<const float> values, const Rounding& rounding) {
  float low = 0.0f, high = 0.0f;
  bool finite = true;
  for (const float value : values) {
    low = std::min(low, value);
    high = std::max(high, value);
    finite &= std::isfinite(value);
  }
  if (!finite) fail("weights that are infinite or not a number cannot be quantized");
  Scale best = scale_for(low, high, rounding);
  if (rounding.clip == WeightClip::absmax) return best;
  double least = squared_error(values, best, rounding.format.bits);
  for (int step = 1; step < kSteps; ++step) {
    const float factor = 1.0f - 0.01f * static_cast<float>(step);
    const Scale scale = scale_for(low * factor, high * factor, rounding);
    const double error = squared_error(values, scale, rounding.format.bits);
    if (error >= least) continue;
    least = error;
    best = scale;
  }
  return best;
}

int quantize_value(float value, Scale scale, int bits) {
  const float q = std::nearbyint(value / scale.scale) + static_cast<float>(scale.zero);
  return static_cast<int>(std::clamp(q, static_cast<float>(lowest(bits)), static_cast<float>(highest(bits))));
}

const Scale& QuantizedMatrix::scale(const WeightFormat& format, int64_t row, int64_t column) const {
  const int64_t a_row = format.scales_a_row(columns);
  const int64_t index = format.scope == Scope::tensor ? 0 : row * a_row + column / (columns / a_row);
  return scales[static_cast<size_t>(index)];
}

void check_groups(const WeightFormat& format, int64_t columns, std::string_view what) {
  if (format.scope == Scope::group && (format.group < 1 || columns % format.group != 0))
    fail_usage("{}: groups of {} do not divide its {} columns; choose another --group", what, format.group, columns);
}

std::vector<Scale> choose_scales(ConstMatrixView weights, const Rounding& rounding) {
  const WeightFormat& format = rounding.format;
  check_groups(format, weights.columns, "matrix");
  if (format.scope == Scope::tensor) {
    std::vector<float> all;
    for (int64_t row = 0; row < weights.rows; ++row)
      all.insert(all.end(), weights.data + row * weights.stride, weights.data + row * weights.stride + weights.columns);
    return {choose_scale(all, rounding)};
  }
  const int64_t a_row = format.scales_a_row(weights.columns), width = weights.columns / a_row;
  std::vector<Scale> scales(static_cast<size_t>(weights.rows * a_row));
  parallel_for(weights.rows, [&](int64_t row) {
    for (int64_t group = 0; group < a_row; ++group)
      scales[static_cast<size_t>(row * a_row + group)] =
          choose_scale({weights.data + row * weights.stride + group * width, static_cast<size_t>(width)}, rounding);
  });
  return scales;
}

QuantizedMatrix round_to_nearest(ConstMatrixView weights, const Rounding& rounding) {
  QuantizedMatrix matrix{weights.rows, weights.columns, {}, choose_scales(weights, rounding)};
  matrix.values.resize(static_cast<size_t>(matrix.rows * matrix.columns));
  parallel_for(matrix.rows, [&](int64_t row) {
    for (int64_t column = 0; column < matrix.columns; ++column)
      matrix.values[static_cast<size_t>(row * matrix.columns + column)] =
          static_cast<int8_t>(quantize_value(weights.data[row * weights.stride + column],
                                             matrix.scale(rounding.format, row, column), rounding.format.bits));
  });
  return matrix;
}

std::vector<StoredPart> stored_parts(int64_t rows, int64_t columns, const Rounding& rounding) {
  const WeightFormat& format = rounding.format;
  const int64_t words = packed_words(columns, format.bits);
  std::vector<int64_t> scales = {format.scale_rows(rows), format.scales_a_row(columns)};
  std::vector<StoredPart> parts;
  if (format.packed)
    parts.push_back({"weight_packed", "I32", {rows, words}, {}});
  else
    parts.push_back({"weight", "I8", {rows, columns}, {}});
  parts.push_back(
      {"weight_scale", rounding.scale_type, format.scope == Scope::tensor ? std::vector<int64_t>{1} : scales, {}});
  if (format.packed) parts.push_back({"weight_shape", "I64", {2}, {}});
  if (!format.symmetric) {
    const bool packed = format.packed && format.scope != Scope::tensor;
    parts.push_back({"weight_zero_point", packed ? "I32" : "I8", parts[1].shape, {}});
    if (packed) parts.back().shape[0] = packed_words(rows, format.bits);
  }
  return parts;
}

std::vector<StoredPart> stored_parts(const QuantizedMatrix& matrix, const Rounding& rounding) {
  const WeightFormat& format = rounding.format;
  std::vector<StoredPart> parts = stored_parts(matrix.rows, matrix.columns, rounding);
  if (format.packed) {
    const int64_t words = parts[0].shape[1];
    std::vector<uint32_t> packed(static_cast<size_t>(matrix.rows * words));
    for (int64_t row = 0; row < matrix.rows; ++row)
      pack_bits(std::span(matrix.values)
                    .subspan(static_cast<size_t>(row * matrix.columns), static_cast<size_t>(matrix.columns)),
                format.bits, packed.data() + row * words);
    parts[0].bytes = as_bytes(packed);
  } else {
    parts[0].bytes = as_bytes(matrix.values);
  }
  std::vector<float> scales;
  std::vector<int8_t> zeros;
  for (const Scale& scale : matrix.scales) {
    scales.push_back(scale.scale);
    zeros.push_back(static_cast<int8_t>(scale.zero));
  }
  parts[1].bytes = floats_as(rounding.scale_type, scales);
  if (format.packed) parts[2].bytes = as_bytes(std::vector<int64_t>{matrix.rows, matrix.columns});
  if (format.symmetric) return parts;
  if (parts.back().dtype == "I8") {
    parts.back().bytes = as_bytes(zeros);
    return parts;
  }
  // Packed down the rows of each column of groups.
  const int64_t words = parts.back().shape[0], groups = parts.back().shape[1];
  std::vector<uint32_t> packed(static_cast<size_t>(words * groups)), column_words(static_cast<size_t>(words));
  std::vector<int8_t> column(static_cast<size_t>(matrix.rows));
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t row = 0; row < matrix.rows; ++row)
      column[static_cast<size_t>(row)] = zeros[static_cast<size_t>(row * groups + group)];
    pack_bits(column, format.bits, column_words.data());
    for (int64_t word = 0; word < words; ++word)
      packed[static_cast<size_t>(word * groups + group)] = column_words[static_cast<size_t>(word)];
  }
  parts.back().bytes = as_bytes(packed);
  return parts;
}

}  // namespace spikescope
