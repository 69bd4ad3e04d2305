#include "quant/quantizer.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/nearest_whole.h"
#include "base/parallel.h"
#include "base/vectorized.h"

namespace spikescope {
namespace {

void check_bits(int bits) {
  if (bits < kFewestBits || bits > kMostBits)
    fail("a quantizer of {} bits: expected {} to {}", bits, kFewestBits, kMostBits);
}

/// `low`, `high`: the ends of the grid over the scale. They come before rounding, so that what is rounded is never
/// large.
inline float on_grid(float x, float inverse, float low, float high, float scale) {
  return nearest_whole(std::min(std::max(x * inverse, low), high)) * scale;
}

SPIKESCOPE_VECTORIZED
void apply_to(float* values, int64_t count, float low, float high, float scale) {
  const float inverse = 1.0f / scale;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] = on_grid(values[i], inverse, low, high, scale);
}

SPIKESCOPE_VECTORIZED
float magnitude_of(const float* values, int64_t count) {
  float largest = 0.0f;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

constexpr int64_t kRowsAPiece = 64;

template <class Work>
void for_each_row(const TensorView& rows, const Work& work) {
  const int64_t count = rows.rows(), size = rows.row_size();
  parallel_for((count + kRowsAPiece - 1) / kRowsAPiece, [&](int64_t piece) {
    const int64_t end = std::min(count, (piece + 1) * kRowsAPiece);
    for (int64_t row = piece * kRowsAPiece; row < end; ++row) work(rows.row(row), size);
  });
}

/// By the grid of the values' own largest magnitude, or range.
void apply_own_grid(float* values, int64_t count, int bits, bool asymmetric) {
  if (!asymmetric) {
    Quantizer::symmetric(bits, largest_magnitude(values, count)).apply(values, count);
    return;
  }
  const auto [low, high] = std::minmax_element(values, values + count);
  Quantizer::asymmetric(bits, *low, *high).apply(values, count);
}

}  // namespace

Quantizer Quantizer::symmetric(int bits, double clip) {
  check_bits(bits);
  if (!std::isfinite(clip) || clip < 0.0)
    fail("a quantizer that clips at {}: expected a finite number, 0 or more", clip);
  const auto steps = static_cast<float>(int64_t{1} << (bits - 1));
  // A scale below the normal range would have no inverse.
  const float scale = std::max(static_cast<float>(clip / (static_cast<double>(steps) - 0.5)), 1e-30f);
  return {scale, 0.0f, -steps, steps - 1.0f};
}

Quantizer Quantizer::asymmetric(int bits, double low, double high) {
  check_bits(bits);
  if (!std::isfinite(low) || !std::isfinite(high) || low > high)
    fail("a quantizer from {} to {}: expected finite numbers, ascending", low, high);
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  const auto highest = static_cast<float>((int64_t{1} << bits) - 1);
  const float scale = std::max(static_cast<float>((high - low) / highest), 1e-30f);
  return {scale, static_cast<float>(std::nearbyint(-low / scale)), 0.0f, highest};
}

float Quantizer::operator()(float value) const {
  return on_grid(value, 1.0f / scale, lowest - zero, highest - zero, scale);
}

void Quantizer::apply(float* values, int64_t count) const {
  apply_to(values, count, lowest - zero, highest - zero, scale);
}

void quantize_rows(const TensorView& rows, const Quantizer& quantizer) {
  for_each_row(rows, [&](float* values, int64_t count) { quantizer.apply(values, count); });
}

void quantize_rows_dynamic(const TensorView& rows, int bits, bool asymmetric) {
  for_each_row(rows, [&](float* values, int64_t count) { apply_own_grid(values, count, bits, asymmetric); });
}

void quantize_heads_dynamic(const TensorView& rows, int bits, bool asymmetric) {
  const int64_t head = rows.shape.back();
  for_each_row(rows, [&](float* values, int64_t count) {
    for (int64_t first = 0; first < count; first += head) apply_own_grid(values + first, head, bits, asymmetric);
  });
}

float largest_magnitude(const float* values, int64_t count) { return magnitude_of(values, count); }

}  // namespace spikescope
