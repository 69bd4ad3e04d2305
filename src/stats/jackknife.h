// Standard errors of statistics that are no means.
#pragma once

#include <span>

namespace spikescope {

/// Standard error of a statistic of n groups by the jackknife (Efron & Stein 1981): `left_out[i]` is the statistic
/// without group i, and the error sqrt((n - 1) / n sum (left_out[i] - their mean)^2). Of a mean it is the usual
/// standard error. NaN below two groups, or where the statistic is undefined without one of them.
double jackknife_error(std::span<const double> left_out);

}  // namespace spikescope
