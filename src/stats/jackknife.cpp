#include "stats/jackknife.h"

#include <cmath>

#include "stats/moments.h"

namespace spikescope {

double jackknife_error(std::span<const double> left_out) {
  Moments moments;
  for (const double value : left_out) moments.add(value);
  const auto n = static_cast<double>(left_out.size());
  return (n - 1) * std::sqrt(moments.variance() / n);
}

}  // namespace spikescope
