#include "stats/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"

namespace spikescope {

double correlation(std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size()) fail("correlation: series of {} and {} points; both must be as long", x.size(), y.size());
  const double n = static_cast<double>(x.size());
  double mean_x = 0.0, mean_y = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  double xx = 0.0, yy = 0.0, xy = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  // A constant series differs from its mean by rounding at most.
  const auto constant = [n](double squares, double mean) {
    return squares <= n * 1e-30 * std::max(1e-300, mean * mean);
  };
  if (x.size() < 2 || constant(xx, mean_x) || constant(yy, mean_y)) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
}

}  // namespace spikescope
