// Softmax of a row of scores, with what the sink statistics need of it, in one visit while the row is in cache.
#pragma once

#include <cstdint>

namespace spikescope {

/// What is left of a row of scores.
struct SoftmaxRow {
  float inverse_sum = 0.0f;  ///< the row holds exp(s - max); times this it is the pattern
  double entropy = 0.0;      ///< of the pattern, in nats
};

/// Replaces scores[0 .. visible) by exp(scores - max) and scores[visible .. length) by 0. Sums in double.
SoftmaxRow softmax_row(float* scores, int64_t visible, int64_t length);

/// sums[i] += row[i] * scale.
void add_scaled(const float* row, float scale, int64_t length, float* sums);

}  // namespace spikescope
