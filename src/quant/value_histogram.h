// How often values of each size occur, in bins as fine as 1/128 of a value, and what that tells of quantizing them.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// A histogram of float32 values whose bins are the upper 16 bits of a float: sign, exponent and 7 bits of mantissa.
/// 512 KiB, whatever comes.
class ValueHistogram {
 public:
  ValueHistogram() : counts_(size_t{1} << 16) {}
  /// Values must be finite.
  void add(const float* values, int64_t count);
  /// Each value counts as many times as its weight says.
  void add(const float* values, int64_t count, const uint32_t* weights);
  void merge(const ValueHistogram& other);
  void clear();

  int64_t count() const;                      ///< weights included
  float lowest() const { return lowest_; }    ///< exact, but never above 0
  float highest() const { return highest_; }  ///< exact, but never below 0
  double largest() const;                     ///< largest |x|
  /// The |x| that a share `p` of the values does not exceed, within a bin's width. NaN without values.
  double magnitude_quantile(double p) const;

 private:
  friend class ClipSearch;
  std::vector<uint64_t> counts_;
  float lowest_ = 0.0f, highest_ = 0.0f;
};

/// The range that loses least: where clipping what is outside and rounding what is inside have the least sum of
/// squares (the values of a bin taken as spread evenly over it).
class ClipSearch {
 public:
  explicit ClipSearch(const ValueHistogram& histogram);

  struct Range {
    double low = 0.0, high = 0.0;
    double error = 0.0;  ///< mean square
  };
  /// Of all clips r largest, 0 < r <= 1, of a symmetric quantizer (Quantizer::symmetric) of so many bits.
  Range symmetric(int bits) const;
  /// Of all grids of an asymmetric one whose width is r (highest - lowest), and whose 0 is at any of its points: found
  /// by turns, the width for a place of 0 and the place for a width, from the symmetric grid on.
  Range asymmetric(int bits) const;
  /// Mean square error of the grid with this step, and so many steps below and above 0.
  double error(double step, double steps_below, double steps_above) const;

 private:
  struct Bin {
    double low, high, count;
  };
  template <class Error>
  double share_between(const Error& error, double low, double high) const;
  template <class Error>
  double best_share(const Error& error) const;
  double best_place(double step, double below, double most) const;

  std::vector<Bin> sides_[2];  ///< magnitudes of the values above and below 0
  double count_ = 0.0, lowest_ = 0.0, highest_ = 0.0;
};

}  // namespace spikescope
