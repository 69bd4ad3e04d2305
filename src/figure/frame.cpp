#include "figure/frame.h"

#include <algorithm>
#include <cmath>

#include "figure/paper.h"
#include "figure/text.h"

namespace spikescope {
namespace {

constexpr double kTick = 0.035;  // inches
constexpr Stroke kAxisLine{kInk, 0.6, false};
constexpr double kBandRow = 0.145;
constexpr double kLabelOverhang = 0.25;  // a side label may be this much longer than its axis
constexpr size_t kLongestBandLabel = 40;
constexpr double kLabelLine = 0.145;  // from one line of a side label to the next

struct BandPlace {
  double left, right, label_left, label_right;
};

std::string one_line(std::string_view text, double points, double inches) {
  std::string out = visible_text(text, 200);
  for (size_t cells = display_cells(out); cells > 1 && text_inches(out, points) > inches; --cells) {
    out = visible_text(text, cells - 1);
  }
  return out;
}

BandPlace place(const Band& band, const Frame& frame) {
  const auto inside = [&](double value) {
    const double x = frame.at_x(value);
    return std::clamp(std::isfinite(x) ? x : frame.box.left, frame.box.left, frame.box.right);
  };
  BandPlace out{inside(std::min(band.from, band.to)), inside(std::max(band.from, band.to)), 0, 0};
  const double half = text_inches(visible_text(band.label, kLongestBandLabel), kTickSize) / 2;
  // A long label is pushed inward from the frame's edges.
  const double center = std::clamp((out.left + out.right) / 2, std::min(frame.box.left + half, frame.box.right),
                                   std::max(frame.box.right - half, frame.box.left));
  out.label_left = center - half;
  out.label_right = center + half;
  return out;
}

}  // namespace

double text_inches(std::string_view text, double points) { return text_width(visible_text(text)) * points / 72; }

std::vector<std::string> fitted_lines(std::string_view text, double points, double inches) {
  const auto cut = [&](std::string_view line) { return one_line(line, points, inches); };
  if (text_inches(text, points) <= inches) return {cut(text)};
  size_t middle = std::string_view::npos;
  for (size_t at = text.find(' '); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    const auto off_center = [&](size_t place) {
      return std::abs(2 * static_cast<double>(place) - static_cast<double>(text.size()));
    };
    if (middle == std::string_view::npos || off_center(at) < off_center(middle)) middle = at;
  }
  if (middle == std::string_view::npos) return {cut(text)};
  return {cut(text.substr(0, middle)), cut(text.substr(middle + 1))};
}

double widest_label(std::span<const Tick> ticks) {
  double widest = 0;
  for (const Tick& tick : ticks) widest = std::max(widest, text_inches(tick.label, kTickSize));
  return widest;
}

BottomAxis bottom_axis(const Axis& axis, const Range& range, double width, bool whole) {
  BottomAxis bottom;
  bottom.ticks = axis_ticks(axis, range, axis.categories.empty() ? 7 : static_cast<int>(axis.categories.size()), whole);
  const auto spacing = [&](const std::vector<Tick>& ticks) {  // least inches from one tick to the next
    double least = width;
    for (size_t i = 1; i < ticks.size(); ++i) {
      least = std::min(least, (range.position(ticks[i].at) - range.position(ticks[i - 1].at)) * width);
    }
    return least;
  };
  const double widest = widest_label(bottom.ticks);
  if (widest + 0.06 > spacing(bottom.ticks)) {
    // Names that count something ("0", "1", ...) are thinned, others turned.
    const bool short_names = widest < 0.25;
    bottom.turned = !axis.categories.empty() && !short_names;
    const double need = bottom.turned ? 0.15 : widest + 0.08;
    int about = std::max(2, static_cast<int>(width / need));
    if (need > spacing(bottom.ticks)) bottom.ticks = axis_ticks(axis, range, about, whole);
    while (!bottom.turned && about > 2 && widest_label(bottom.ticks) + 0.08 > spacing(bottom.ticks)) {
      bottom.ticks = axis_ticks(axis, range, --about, whole);
    }
  }
  if (bottom.turned && !bottom.ticks.empty()) {
    const double first = 0.71 * text_inches(bottom.ticks[0].label, kTickSize) + 0.03;
    bottom.overhang = std::max(0.0, first - range.position(bottom.ticks[0].at) * width);
  }
  const double labels = bottom.turned ? widest_label(bottom.ticks) * 0.71 + 0.12 : 0.16;
  bottom.height = kTick + 0.04 + labels + (axis.label.empty() ? 0.02 : 0.19);
  return bottom;
}

void draw_bottom_axis(Drawing& sheet, const Frame& frame, const Axis& axis, const BottomAxis& bottom) {
  const Box& box = frame.box;
  sheet.line({box.left, box.bottom}, {box.right, box.bottom}, kAxisLine);
  for (const Tick& tick : bottom.ticks) {
    const double x = frame.at_x(tick.at);
    if (!std::isfinite(x)) continue;
    sheet.line({x, box.bottom}, {x, box.bottom - kTick}, kAxisLine);
    if (bottom.turned) {
      sheet.text({x + 0.03, box.bottom - kTick - 0.07}, tick.label, {TextStyle::Align::right, kTickSize, kInk, 45});
    } else {
      sheet.text({x, box.bottom - kTick - 0.095}, tick.label, {TextStyle::Align::center, kTickSize, kInk});
    }
  }
  if (!axis.label.empty()) {
    sheet.text({(box.left + box.right) / 2, box.bottom - bottom.height + 0.095},
               one_line(axis.label, kLabelSize, box.right - box.left + 0.6),
               {TextStyle::Align::center, kLabelSize, kInk});
  }
}

void draw_side_axis(Drawing& sheet, const Frame& frame, const Range& range, const Axis& axis,
                    std::span<const Tick> ticks, bool right) {
  const Box& box = frame.box;
  const double side = right ? box.right : box.left, out = right ? 1 : -1;
  sheet.line({side, box.bottom}, {side, box.top}, kAxisLine);
  for (const Tick& tick : ticks) {
    const double y = box.bottom + range.position(tick.at) * (box.top - box.bottom);
    if (!std::isfinite(y)) continue;
    sheet.line({side, y}, {side + out * kTick, y}, kAxisLine);
    sheet.text({side + out * (kTick + 0.04), y}, tick.label,
               {right ? TextStyle::Align::left : TextStyle::Align::right, kTickSize, kInk});
  }
  if (axis.label.empty()) return;
  const double height = box.top - box.bottom;
  const auto lines = fitted_lines(axis.label, kLabelSize, height + kLabelOverhang);
  for (size_t i = 0; i < lines.size(); ++i) {  // read from the left, whichever side they are on
    const double inward = kLabelLine * static_cast<double>(right ? lines.size() - 1 - i : i);
    const double outer = side_axis_width(axis, ticks, height) - 0.09;
    const double x = right ? side + outer - inward : side - outer + inward;
    sheet.text({x, (box.bottom + box.top) / 2}, lines[i], {TextStyle::Align::center, kLabelSize, kInk, 90});
  }
}

double side_axis_width(const Axis& axis, std::span<const Tick> ticks, double frame_height) {
  const double width = kTick + 0.04 + widest_label(ticks);
  if (axis.label.empty()) return width + 0.06;
  const size_t lines = fitted_lines(axis.label, kLabelSize, frame_height + kLabelOverhang).size();
  return width + 0.25 + kLabelLine * static_cast<double>(lines - 1);
}

BandRows band_rows(std::span<const Band> bands, const Frame& frame) {
  BandRows rows;
  std::vector<double> end_of_row;
  for (const Band& band : bands) {
    const BandPlace at = place(band, frame);
    size_t row = 0;
    while (row < end_of_row.size() && end_of_row[row] + 0.08 > at.label_left) ++row;
    if (row == end_of_row.size()) end_of_row.push_back(0);
    end_of_row[row] = at.label_right;
    rows.row.push_back(static_cast<int>(row));
  }
  rows.height = kBandRow * static_cast<double>(end_of_row.size());
  return rows;
}

void draw_band_shade(Drawing& sheet, const Frame& frame, std::span<const Band> bands) {
  std::vector<Box> boxes;
  for (const Band& band : bands) {
    const BandPlace at = place(band, frame);
    boxes.push_back({at.left, frame.box.bottom, at.right, frame.box.top, 0xF1EFE8});
  }
  if (!boxes.empty()) sheet.boxes(boxes);
}

void draw_band_labels(Drawing& sheet, const Frame& frame, std::span<const Band> bands, const BandRows& rows,
                      bool bracket) {
  for (size_t i = 0; i < bands.size(); ++i) {
    const BandPlace at = place(bands[i], frame);
    const double y = frame.box.top + 0.085 + kBandRow * rows.row[i];
    sheet.text({(at.label_left + at.label_right) / 2, y + (bracket ? 0.02 : 0)},
               visible_text(bands[i].label, kLongestBandLabel), {TextStyle::Align::center, kTickSize, kMuted});
    if (bracket) sheet.line({at.left, frame.box.top + 0.03}, {at.right, frame.box.top + 0.03}, {kMuted, 1.2, false});
  }
}

}  // namespace spikescope
