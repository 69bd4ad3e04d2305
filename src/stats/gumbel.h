// The distribution of the largest of many values, and evidence put together from several of them.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// P(X > x) = 1 - exp(-exp(-(x - location) / scale)): what the largest of many values with light tails follows.
struct Gumbel {
  double location = 0.0, scale = 0.0;

  /// -ln P(X > x), 0 or more; 0 where the scale is 0 or x is not finite.
  double surprise(double x) const;
};

/// The Gumbel distribution with the quartiles of the finite values: up to a quarter of the values may be anything.
/// Scale 0 where there are fewer than four, or half of them are the same.
Gumbel fit_gumbel(std::vector<double> values);

/// Fisher's method: ln of the probability that `count` >= 1 independent surprises add up to `sum` or more, where each
/// is -ln of a uniform number.
double log_probability_of_sum(int64_t count, double sum);

}  // namespace spikescope
