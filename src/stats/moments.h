// Mean and spread of numbers that come one at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace spikescope {

/// Running mean and variance in double (Welford 1962), stable where sums of squares are not.
class Moments {
 public:
  void add(double value) {
    ++count_;
    const double delta = value - mean_;
    mean_ += delta / static_cast<double>(count_);
    squares_ += delta * (value - mean_);
  }

  int64_t count() const { return count_; }
  /// NaN without values.
  double mean() const { return count_ > 0 ? mean_ : std::numeric_limits<double>::quiet_NaN(); }
  /// Sample variance (divides by n - 1); NaN below two values.
  double variance() const {
    return count_ > 1 ? squares_ / static_cast<double>(count_ - 1) : std::numeric_limits<double>::quiet_NaN();
  }
  /// Standard error of the mean; NaN below two values.
  double standard_error() const { return std::sqrt(variance() / static_cast<double>(count_)); }

 private:
  int64_t count_ = 0;
  double mean_ = 0.0, squares_ = 0.0;
};

}  // namespace spikescope
