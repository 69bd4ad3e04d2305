// Linear correlation.
#pragma once

#include <span>

namespace spikescope {

/// Pearson's correlation of two equally long series, in [-1, 1]. NaN below two points and where a series is constant.
double correlation(std::span<const double> x, std::span<const double> y);

}  // namespace spikescope
