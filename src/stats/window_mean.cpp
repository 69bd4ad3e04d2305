#include "stats/window_mean.h"

#include <cmath>
#include <cstddef>
#include <limits>

namespace spikescope {

WindowMean window_mean(std::span<const double> sums, std::span<const double> counts) {
  constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
  double sum = 0.0, count = 0.0, windows = 0.0, squares = 0.0;
  for (size_t w = 0; w < sums.size(); ++w) {
    if (counts[w] <= 0) continue;
    sum += sums[w];
    count += counts[w];
    ++windows;
  }
  if (windows == 0) return {kUndefined, kUndefined};
  const double mean = sum / count;
  if (windows < 2) return {mean, kUndefined};
  for (size_t w = 0; w < sums.size(); ++w) {
    const double rest = counts[w] > 0 ? sums[w] - mean * counts[w] : 0.0;
    squares += rest * rest;
  }
  return {mean, std::sqrt(windows / (windows - 1) * squares) / count};
}

}  // namespace spikescope
