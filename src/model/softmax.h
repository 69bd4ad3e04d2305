// Softmax of a row of scores, with what the sink statistics need of it, in one visit while the row is in cache.
#pragma once

#include <cstdint>

namespace spikescope {

/// What is left of a row of scores.
struct SoftmaxRow {
  float inverse_sum = 0.0f;  ///< the row holds exp(s - max); times this it is the pattern
  double entropy = 0.0;      ///< of the pattern, in nats
};

/// Replaces scores s[0 .. visible) by exp(scale (s - max)) and s[visible .. length) by 0; scale > 0. Sums in double.
SoftmaxRow softmax_row(float* scores, int64_t visible, int64_t length, float scale);

/// sums[i] += sum over r of rows[r * stride + i] * scales[r], for i below `length`.
void add_scaled_rows(const float* rows, int64_t stride, const float* scales, int64_t count, int64_t length,
                     float* sums);

}  // namespace spikescope
