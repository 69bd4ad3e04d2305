// Medians, exact, of values in memory and of values that stream past.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spikescope {

/// Lower median: element (n - 1) / 2 of the sorted values. NaN when there are none; values must not be NaN.
double lower_median(std::vector<double> values);

/// Exact lower median of |x| over values that come in pieces and need not fit in memory: two passes over the same
/// values. First pass: count() every piece (or merge() counters that did). Then narrow(). Second pass: refine() every
/// piece again. Magnitudes of floats order as their bits do, so the first pass counts by the upper 15 bits, and the
/// second by the lower 16 bits within the median's bucket. Values must be finite.
class MagnitudeMedian {
 public:
  MagnitudeMedian();
  void count(std::span<const float> values);
  void merge(const MagnitudeMedian& other);  ///< adds the other's first pass to this one's
  void narrow();
  void refine(std::span<const float> values);
  /// NaN when nothing was counted.
  float median() const;

 private:
  std::vector<uint64_t> coarse_, fine_;
  uint64_t total_ = 0;
  uint64_t rank_in_bucket_ = 0;
  uint32_t bucket_ = 0;
};

}  // namespace spikescope
