#include "figure/color_scale.h"

#include <algorithm>
#include <cmath>

#include "figure/frame.h"
#include "figure/palette.h"
#include "figure/text.h"

namespace spikescope {
namespace {

constexpr int kSteps = 96;
constexpr double kLine = 0.13, kOverhang = 0.2;  // inches: between lines of the label; beyond the bar

std::vector<Tick> bar_ticks(const Range& range) {
  Axis axis;
  axis.log = range.log;
  return axis_ticks(axis, range, 5);
}

}  // namespace

Range color_range(std::span<const double> values, bool log, std::optional<double> min, std::optional<double> max) {
  Range range{INFINITY, -INFINITY, log};
  for (const double value : values) {
    if (!drawable(value, log)) continue;
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  if (range.low > range.high) range = {log ? 1.0 : 0.0, log ? 10.0 : 1.0, log};
  if (!log && range.low > 0 && range.low < 0.35 * range.high) range.low = 0;
  if (min && drawable(*min, log)) range.low = *min;
  if (max && drawable(*max, log)) range.high = *max;
  if (!(range.low < range.high)) range.high = log ? range.low * 10 : range.low + std::max(1.0, std::abs(range.low));
  return range;
}

void draw_color_bar(Drawing& sheet, const Box& frame, std::span<const std::string_view> palette, const Range& range,
                    std::string_view label) {
  const double width = frame.right - frame.left, height = frame.top - frame.bottom;
  const bool upright = height > width;
  std::vector<Box> steps;
  for (int i = 0; i < kSteps; ++i) {
    const double part = static_cast<double>(i) / kSteps;
    // Each step reaches to the far end, under the next ones: no seams.
    Box step = frame;
    (upright ? step.bottom : step.left) += part * (upright ? height : width);
    step.color = palette_color(palette, part + 0.5 / kSteps);
    steps.push_back(step);
  }
  sheet.boxes(steps);
  const std::vector<Tick> ticks = bar_ticks(range);
  for (const Tick& tick : ticks) {
    const double part = range.position(tick.at);
    if (upright) {
      const double y = frame.bottom + part * height;
      sheet.line({frame.right, y}, {frame.right + 0.03, y}, {kInk, 0.5, false});
      sheet.text({frame.right + 0.065, y}, tick.label, {TextStyle::Align::left, kTickSize, kInk});
    } else {
      const double x = frame.left + part * width;
      sheet.line({x, frame.bottom}, {x, frame.bottom - 0.03}, {kInk, 0.5, false});
      sheet.text({x, frame.bottom - 0.105}, tick.label, {TextStyle::Align::center, kTickSize, kInk});
    }
  }
  if (label.empty()) return;
  if (upright) {
    const auto lines = fitted_lines(label, kTickSize, height + kOverhang);
    for (size_t i = 0; i < lines.size(); ++i) {
      const double x = frame.right + color_bar_width(range, label, height) - 0.09 -
                       kLine * static_cast<double>(lines.size() - 1 - i);
      sheet.text({x, (frame.bottom + frame.top) / 2}, lines[i], {TextStyle::Align::center, kTickSize, kInk, 90});
    }
  } else {
    sheet.text({frame.right + 0.2, frame.bottom + height / 2}, visible_text(label, 50),
               {TextStyle::Align::left, kTickSize, kInk});
  }
}

double color_bar_width(const Range& range, std::string_view label, double height) {
  const double ticks = 0.09 + widest_label(bar_ticks(range));
  if (label.empty()) return ticks;
  return ticks + 0.22 + kLine * static_cast<double>(fitted_lines(label, kTickSize, height + kOverhang).size() - 1);
}

}  // namespace spikescope
