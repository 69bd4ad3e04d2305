// Softmax of a row of scores, with what the sink statistics need of it, in one visit while the row is in cache.
#pragma once

#include <cstdint>

namespace spikescope {

/// Sums over a row, of e = exp(scale (score - shift)) and of e log e.
struct SoftmaxSums {
  double exponentials = 0.0, weighted = 0.0;

  float inverse() const { return static_cast<float>(1.0 / exponentials); }
  /// Entropy of the softmax in nats: -sum p log p with log p = log e - log sum.
  double entropy() const;
};

/// The largest of `count` scores.
float row_maximum(const float* scores, int64_t count);
/// Replaces scores by exp(scale (score - shift)), 0 for -inf, and adds to the sums; `shift` is no less than any of
/// them.
void exponentials(float* scores, int64_t count, float shift, float scale, SoftmaxSums& sums);

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
