#include "model/softmax.h"

#include <cmath>
#include <limits>

#include "model/vectorize.h"

namespace spikescope {
namespace {

// Terms of a block of 512 are summed in float32 (error below 1e-6 of the sum), the blocks in double.
SPIKESCOPE_VECTORIZED
void replace(float* row, int64_t length, float shift, float scale, double* sum, double* weighted) {
  constexpr int64_t kBlock = 512;
  constexpr double kLn2 = 0.69314718055994531;
  const float scale2 = static_cast<float>(scale / kLn2);
  for (int64_t begin = 0; begin < length; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, length);
    float block_sum = 0.0f, block_weighted = 0.0f;
#pragma omp simd reduction(+ : block_sum, block_weighted)
    for (int64_t i = begin; i < end; ++i) {
      const float t = (row[i] - shift) * scale2;  // 0 at most
      const float in_range = std::max(t, kLeastPower);
      const float e = t < kLeastPower ? 0.0f : power_of_two(in_range);
      row[i] = e;
      block_sum += e;
      block_weighted += e * in_range;
    }
    *sum += block_sum;
    *weighted += kLn2 * block_weighted;
  }
}

/// Four rows at a time, so that the sums are read and written a quarter as often.
SPIKESCOPE_VECTORIZED
void add_four(const float* rows, int64_t stride, const float* scales, int64_t length, float* sums) {
  const float *a = rows, *b = a + stride, *c = b + stride, *d = c + stride;
  const float s = scales[0], t = scales[1], u = scales[2], v = scales[3];
#pragma omp simd
  for (int64_t i = 0; i < length; ++i) sums[i] += (a[i] * s + b[i] * t) + (c[i] * u + d[i] * v);
}

SPIKESCOPE_VECTORIZED
void add_one(const float* row, float scale, int64_t length, float* sums) {
#pragma omp simd
  for (int64_t i = 0; i < length; ++i) sums[i] += row[i] * scale;
}

}  // namespace

SPIKESCOPE_VECTORIZED
float row_maximum(const float* scores, int64_t count) {
  float best = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t i = 0; i < count; ++i) best = scores[i] > best ? scores[i] : best;
  return best;
}

void exponentials(float* scores, int64_t count, float shift, float scale, SoftmaxSums& sums) {
  replace(scores, count, shift, scale, &sums.exponentials, &sums.weighted);
}

double SoftmaxSums::entropy() const { return std::log(exponentials) - weighted / exponentials; }

SoftmaxRow softmax_row(float* scores, int64_t visible, int64_t length, float scale) {
  // Whole vectors: what is left of one would be done value by value, which takes as long as many vectors.
  constexpr int64_t kVector = 16;
  const int64_t whole = std::min((visible + kVector - 1) / kVector * kVector, length);
  std::fill(scores + visible, scores + whole, -std::numeric_limits<float>::infinity());
  SoftmaxSums sums;
  exponentials(scores, whole, row_maximum(scores, whole), scale, sums);
  std::fill(scores + whole, scores + length, 0.0f);
  return {sums.inverse(), sums.entropy()};
}

void add_scaled_rows(const float* rows, int64_t stride, const float* scales, int64_t count, int64_t length,
                     float* sums) {
  int64_t row = 0;
  for (; row + 4 <= count; row += 4) add_four(rows + row * stride, stride, scales + row, length, sums);
  for (; row < count; ++row) add_one(rows + row * stride, scales[row], length, sums);
}

}  // namespace spikescope
