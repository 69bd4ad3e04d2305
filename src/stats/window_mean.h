// The mean of items that come in windows of text, where only the windows are independent.
#pragma once

#include <span>

namespace spikescope {

struct WindowMean {
  double mean = 0.0;
  double standard_error = 0.0;
};

/// Mean over all items of all windows, from the sum and the number of the items of each (as many sums as counts), with
/// the standard error of the ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6):
///   mean = sum_w s_w / sum_w n_w,  se^2 = W / (W - 1) sum_w (s_w - mean n_w)^2 / (sum_w n_w)^2
/// which for windows of one size is the plain standard error of their means. Windows without items do not count (W).
/// Mean and error are NaN without any item, the error is NaN below two windows.
WindowMean window_mean(std::span<const double> sums, std::span<const double> counts);

}  // namespace spikescope
