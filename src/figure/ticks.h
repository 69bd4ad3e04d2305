// Ranges and tick marks of axes, the same in paper figures of every kind.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "figure/figure.h"

namespace spikescope {

struct Tick {
  double at;
  std::string label;  ///< fit to be shown (visible_text)
};

struct Range {
  double low = 0, high = 1;
  bool log = false;

  /// Where `value` lies between low (0) and high (1); NaN for what a log axis cannot show.
  double position(double value) const;
};

/// Whether `value` can be drawn on the axis: finite, and positive where it is logarithmic.
bool drawable(double value, bool log);

/// The range of an axis with these data: its own min and max where given, else a little more than the data take; for
/// bars, and where the data begin near it, from 0. Categories are whole cells of width 1. Never empty, whatever the
/// data.
Range axis_range(const Axis& axis, std::span<const double> data, bool from_zero = false);

/// Ticks of the axis within the range, `about` as many: names of categories (thinned when there are more than `about`),
/// powers of ten, or round numbers, `whole` ones where the values are counts.
std::vector<Tick> axis_ticks(const Axis& axis, const Range& range, int about, bool whole = false);

/// Whether all values are whole numbers (or not numbers at all).
bool all_whole(std::span<const double> values);

/// "23,147", "0.05", "2.5×10⁶": with as many decimals as values `step` apart need.
std::string number_label(double value, double step);

/// Three significant digits, or all before the point, as beside a peak: "23,147", "12.5", "0.0712", "0.5".
std::string value_label(double value);

}  // namespace spikescope
