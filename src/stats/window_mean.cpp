#include "stats/window_mean.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "stats/quantile.h"

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

double window_median_error(std::span<const std::vector<double>> windows) {
  std::vector<double> all, below, counts;
  for (const std::vector<double>& window : windows) all.insert(all.end(), window.begin(), window.end());
  const double median = lower_median(all);
  for (const std::vector<double>& window : windows) {
    below.push_back(static_cast<double>(
        std::count_if(window.begin(), window.end(), [&](double value) { return value <= median; })));
    counts.push_back(static_cast<double>(window.size()));
  }
  const double error = window_mean(below, counts).standard_error;
  if (std::isnan(error)) return error;
  std::sort(all.begin(), all.end());
  const auto quantile = [&](double share) {
    const double place = std::clamp(share, 0.0, 1.0) * static_cast<double>(all.size() - 1), whole = std::floor(place);
    const auto index = static_cast<size_t>(whole);
    const double above = all[std::min(index + 1, all.size() - 1)];
    return all[index] + (place - whole) * (above - all[index]);
  };
  return (quantile(0.5 + error) - quantile(0.5 - error)) / 2.0;
}

}  // namespace spikescope
