// Mean and median of items that come in windows of text, where only the windows are independent.
#pragma once

#include <span>
#include <vector>

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

/// Standard error of the median over all items, `windows[w]` the items of one window: half of the range between the
/// quantiles at 1/2 - e and 1/2 + e, e the standard error of the share of items at or below the median (Woodruff,
/// J. Am. Stat. Assoc. 47, 1952; window_mean() above). The jackknife is not consistent for medians. Values must not be
/// NaN. NaN below two windows with items.
double window_median_error(std::span<const std::vector<double>> windows);

}  // namespace spikescope
