// From values to colours, and the bar that explains them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "figure/drawing.h"
#include "figure/ticks.h"

namespace spikescope {

/// The range of colours for these values: the given limits where there are some, else exactly what the data take (from
/// 0 where they begin near it). Never empty.
Range color_range(std::span<const double> values, bool log, std::optional<double> min, std::optional<double> max);

/// A bar of the palette in `frame` (upright where it is higher than wide) with ticks and its label.
void draw_color_bar(Drawing& sheet, const Box& frame, std::span<const std::string_view> palette, const Range& range,
                    std::string_view label);

/// Inches that ticks and label take beside an upright bar of that height.
double color_bar_width(const Range& range, std::string_view label, double height);

}  // namespace spikescope
