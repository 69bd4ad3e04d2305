// Line plots, points and bars; one alone, or several one above the other.
#include <algorithm>
#include <cmath>
#include <optional>

#include "figure/frame.h"
#include "figure/palette.h"
#include "figure/paper.h"
#include "figure/text.h"

namespace spikescope {
namespace {

constexpr double kPlotHeight = 2.05, kPanelHeight = 1.1, kPanelTitle = 0.2, kPanelGap = 0.12;  // inches
constexpr double kLegendRow = 0.17, kSample = 0.24, kDot = 0.023;
constexpr size_t kLongestName = 60;
constexpr std::string_view kWhisker = "#333333";  // of bars; those of curves have the curve's color, half transparent

struct LegendEntry {
  size_t series;
  double x;
  int row;
};

struct Legend {
  std::vector<LegendEntry> entries;
  double height = 0;
};

/// Entries from left to right in rows above the plot, where no data are.
Legend lay_out_legend(const std::vector<Series>& all, double left, double right) {
  Legend legend;
  double x = left;
  int row = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].name.empty()) continue;
    const double width = kSample + 0.06 + text_inches(visible_text(all[i].name, kLongestName), kTickSize) + 0.16;
    if (x > left && x + width > right + 0.16) {
      x = left;
      ++row;
    }
    legend.entries.push_back({i, x, row});
    x += width;
  }
  if (!legend.entries.empty()) legend.height = kLegendRow * (row + 1) + 0.03;
  return legend;
}

bool has_line(Series::Mark mark) { return mark == Series::Mark::line || mark == Series::Mark::line_and_points; }
bool has_points(Series::Mark mark) { return mark == Series::Mark::points || mark == Series::Mark::line_and_points; }

/// The part of a segment inside the box, if any (Liang and Barsky).
std::optional<std::pair<PaperPoint, PaperPoint>> clip(PaperPoint a, PaperPoint b, const Box& box) {
  const double dx = b.x - a.x, dy = b.y - a.y;
  double enter = 0, leave = 1;
  const double steps[][2] = {
      {-dx, a.x - box.left}, {dx, box.right - a.x}, {-dy, a.y - box.bottom}, {dy, box.top - a.y}};
  for (const auto& [direction, distance] : steps) {
    if (direction == 0) {
      if (distance < 0) return std::nullopt;
    } else if (direction < 0) {
      enter = std::max(enter, distance / direction);
    } else {
      leave = std::min(leave, distance / direction);
    }
  }
  if (enter > leave) return std::nullopt;
  return std::pair{PaperPoint{a.x + enter * dx, a.y + enter * dy}, PaperPoint{a.x + leave * dx, a.y + leave * dy}};
}

class LinePlot {
 public:
  LinePlot(const Figure& figure, const Lines& lines) : figure_(figure), lines_(lines) {
    std::vector<double> x, left, right;
    bool bars_left = false, bars_right = false;
    for (const Series& series : lines.series) {
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (std::isfinite(series.y[i])) x.push_back(series.x[i]);
      }
      auto& y = series.right_axis ? right : left;
      y.insert(y.end(), series.y.begin(), series.y.end());
      // On a log axis an end below 0 has no place; the whisker then goes to the edge.
      const bool log = (series.right_axis ? lines.right : figure.y).log;
      for (size_t i = 0; i < series.errors.size(); ++i) {
        for (const double end : {series.y[i] - series.errors[i], series.y[i] + series.errors[i]})
          if (std::isfinite(end) && (!log || end > 0.1 * series.y[i])) y.push_back(end);
      }
      if (series.mark == Series::Mark::bars) {
        bar_series_.push_back(&series);
        (series.right_axis ? bars_right : bars_left) = true;
      }
    }
    has_right_ = !right.empty();
    whole_x_ = all_whole(x);
    x_ = axis_range(figure.x, x);
    if (figure.x.categories.empty() && !figure.x.log) fit_x(x);
    left_ = axis_range(figure.y, left, bars_left);
    right_ = axis_range(lines.right, right, bars_right);
    left_ticks_ = axis_ticks(figure.y, left_, 6);
    right_ticks_ = axis_ticks(lines.right, right_, 6);
  }

  /// Inches that the axes take beside a frame of that height.
  double left_margin(double height) const { return std::max(side_axis_width(figure_.y, left_ticks_, height), 0.3); }
  double right_margin(double height) const {
    return has_right_ ? side_axis_width(lines_.right, right_ticks_, height) : 0.14;
  }
  BottomAxis bottom(double width) const { return bottom_axis(figure_.x, x_, width, whole_x_); }
  Legend legend(double left) const { return lay_out_legend(lines_.series, left, kSheetWidth - 0.05); }
  /// The plot's frame from `left` to `right` on the sheet; its height is the caller's.
  Frame frame(double left, double right) const { return {{left, 0, right, 0, 0}, x_, left_}; }

  /// The frame with its axes and data. `bottom` without labels draws ticks alone.
  void draw(Drawing& sheet, const Frame& frame, const Axis& x_axis, const BottomAxis& bottom) const {
    draw_band_shade(sheet, frame, figure_.bands);
    for (const Tick& tick : left_ticks_) {
      const double y = frame.at_y(tick.at);
      sheet.line({frame.box.left, y}, {frame.box.right, y}, {kGrid, 0.5, false});
    }
    draw_bottom_axis(sheet, frame, x_axis, bottom);
    draw_side_axis(sheet, frame, left_, figure_.y, left_ticks_, false);
    if (has_right_) draw_side_axis(sheet, frame, right_, lines_.right, right_ticks_, true);
    for (size_t i = 0; i < lines_.series.size(); ++i) draw_series(sheet, frame, i);
  }

  void draw_legend(Drawing& sheet, const Legend& legend, double bottom) const {
    for (const LegendEntry& entry : legend.entries) {
      const Series& series = lines_.series[entry.series];
      const double y = bottom + legend.height - 0.03 - kLegendRow * (entry.row + 0.35);
      const std::string_view color = series_color(entry.series);
      if (has_line(series.mark)) sheet.line({entry.x, y}, {entry.x + kSample, y}, {color, 1.6, series.dashed});
      const PaperPoint middle[] = {{entry.x + kSample / 2, y}};
      if (has_points(series.mark)) sheet.dots(middle, kDot, color);
      if (series.mark == Series::Mark::bars) {
        const unsigned rgb = static_cast<unsigned>(std::stoul(std::string(color.substr(1)), nullptr, 16));
        const Box box[] = {{entry.x + 0.1, y - 0.045, entry.x + kSample, y + 0.045, rgb}};
        sheet.boxes(box);
      }
      sheet.text({entry.x + kSample + 0.06, y}, visible_text(series.name, kLongestName),
                 {TextStyle::Align::left, kTickSize, kInk});
    }
  }

 private:
  /// Curves run from edge to edge; bars and lone points get half a step of air.
  void fit_x(const std::vector<double>& x) {
    if (x.empty()) return;
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    if (!(std::isfinite(*low) && std::isfinite(*high) && *low < *high)) return;
    const double air = bar_series_.empty() ? 0.015 * (*high - *low) : 0.6 * bar_step();
    if (!figure_.x.min) x_.low = *low - air;
    if (!figure_.x.max) x_.high = *high + air;
  }

  double bar_step() const {
    double step = 0;
    for (const Series* series : bar_series_) {
      std::vector<double> x = series->x;
      std::sort(x.begin(), x.end());
      for (size_t i = 1; i < x.size(); ++i) {
        const double gap = x[i] - x[i - 1];
        if (gap > 0 && (step == 0 || gap < step)) step = gap;
      }
    }
    return step > 0 ? step : 1;
  }

  void draw_series(Drawing& sheet, const Frame& frame, size_t index) const {
    const Series& series = lines_.series[index];
    const Range& y = series.right_axis ? right_ : left_;
    const auto point = [&](size_t i) {
      return PaperPoint{frame.at_x(series.x[i]),
                        frame.box.bottom + y.position(series.y[i]) * (frame.box.top - frame.box.bottom)};
    };
    if (series.mark == Series::Mark::bars) return draw_bars(sheet, frame, index, y);
    draw_whiskers(sheet, frame, series, y, series.x, "#80" + std::string(series_color(index).substr(1)), 1.8);
    if (has_line(series.mark)) {
      std::vector<PaperPoint> curve;
      for (size_t i = 0; i + 1 < series.x.size(); ++i) {
        const PaperPoint a = point(i), b = point(i + 1);
        const bool drawn = std::isfinite(a.x + a.y + b.x + b.y);
        const auto part = drawn ? clip(a, b, frame.box) : std::nullopt;
        const bool joined =
            part && !curve.empty() && curve.back().x == part->first.x && curve.back().y == part->first.y;
        if (!joined) curve.push_back({NAN, NAN});
        if (part) {
          if (!joined) curve.push_back(part->first);
          curve.push_back(part->second);
        }
      }
      sheet.line(curve, {series_color(index), 1.3, series.dashed});
    }
    std::vector<PaperPoint> dots;
    for (size_t i = 0; i < series.x.size(); ++i) {
      const PaperPoint at = point(i);
      const bool inside = at.x >= frame.box.left - 1e-6 && at.x <= frame.box.right + 1e-6 &&
                          at.y >= frame.box.bottom - 1e-6 && at.y <= frame.box.top + 1e-6;
      // A value between two gaps would not show as a line.
      const bool lone =
          (i == 0 || !std::isfinite(point(i - 1).y)) && (i + 1 == series.x.size() || !std::isfinite(point(i + 1).y));
      if (inside && (has_points(series.mark) || lone)) dots.push_back(at);
    }
    if (!dots.empty()) sheet.dots(dots, series.x.size() > 200 ? kDot * 0.6 : kDot, series_color(index));
  }

  void draw_bars(Drawing& sheet, const Frame& frame, size_t index, const Range& y) const {
    const Series& series = lines_.series[index];
    const auto rank = std::find(bar_series_.begin(), bar_series_.end(), &series) - bar_series_.begin();
    const double count = static_cast<double>(bar_series_.size()), width = 0.76 * bar_step() / count;
    const double zero = std::clamp(y.log ? 0 : y.position(0), 0.0, 1.0);
    const unsigned color = static_cast<unsigned>(std::stoul(std::string(series_color(index).substr(1)), nullptr, 16));
    std::vector<Box> boxes;
    for (size_t i = 0; i < series.x.size(); ++i) {
      const double height = std::clamp(y.position(series.y[i]), 0.0, 1.0);
      const double start = series.x[i] + (static_cast<double>(rank) - count / 2) * width;
      const double left = frame.at_x(start), right = frame.at_x(start + width);
      if (!std::isfinite(y.position(series.y[i])) || !std::isfinite(left + right)) continue;
      const double span = frame.box.top - frame.box.bottom;
      boxes.push_back({std::max(left, frame.box.left), frame.box.bottom + std::min(zero, height) * span,
                       std::min(right, frame.box.right), frame.box.bottom + std::max(zero, height) * span, color});
    }
    if (!boxes.empty()) sheet.boxes(boxes);
    std::vector<double> middles;
    for (const double x : series.x) middles.push_back(x + (static_cast<double>(rank) + 0.5 - count / 2) * width);
    draw_whiskers(sheet, frame, series, y, middles, kWhisker, 0.8);
  }

  /// y +- error at these x: one standard error up and down.
  void draw_whiskers(Drawing& sheet, const Frame& frame, const Series& series, const Range& y,
                     const std::vector<double>& x, std::string_view color, double width) const {
    std::vector<PaperPoint> ends;
    for (size_t i = 0; i < series.errors.size(); ++i) {
      const double error = series.errors[i], low = series.y[i] - error;
      if (!std::isfinite(series.y[i] + error) || !std::isfinite(frame.at_x(x[i]))) continue;
      const auto height = [&](double value) {
        return frame.box.bottom + y.position(value) * (frame.box.top - frame.box.bottom);
      };
      const double bottom = y.log && low <= 0 ? frame.box.bottom : height(low);
      const auto part = clip({frame.at_x(x[i]), bottom}, {frame.at_x(x[i]), height(series.y[i] + error)}, frame.box);
      if (part) ends.insert(ends.end(), {{NAN, NAN}, part->first, part->second});
    }
    if (!ends.empty()) sheet.line(ends, {color, width, false});
  }

  const Figure& figure_;
  const Lines& lines_;
  Range x_, left_, right_;
  std::vector<Tick> left_ticks_, right_ticks_;
  std::vector<const Series*> bar_series_;
  bool has_right_ = false, whole_x_ = false;
};

}  // namespace

Drawing draw_lines(const Figure& figure, const Lines& lines) {
  const LinePlot plot(figure, lines);
  const double right = kSheetWidth - plot.right_margin(kPlotHeight);
  double left = plot.left_margin(kPlotHeight);
  left = std::max(left, std::min(1.2, plot.bottom(right - left).overhang));
  Frame frame = plot.frame(left, right);
  const BottomAxis bottom = plot.bottom(right - left);
  const Legend legend = plot.legend(left);
  const BandRows bands = band_rows(figure.bands, frame);
  frame.box.bottom = bottom.height + 0.02;
  frame.box.top = frame.box.bottom + kPlotHeight;
  Drawing sheet(kSheetWidth, frame.box.top + bands.height + legend.height + 0.1);
  plot.draw(sheet, frame, figure.x, bottom);
  draw_band_labels(sheet, frame, figure.bands, bands, false);
  plot.draw_legend(sheet, legend, frame.box.top + bands.height);
  return sheet;
}

Drawing draw_panels(const Figure& figure, const PanelStack& stack) {
  const std::vector<Figure> figures = panel_figures(figure, stack);
  std::vector<LinePlot> plots;
  double left = 0.3, right = kSheetWidth - 0.14;
  for (const Figure& one : figures) {
    plots.emplace_back(one, std::get<Lines>(one.content));
    left = std::max(left, plots.back().left_margin(kPanelHeight));
    right = std::min(right, kSheetWidth - plots.back().right_margin(kPanelHeight));
  }
  if (plots.empty()) return Drawing(kSheetWidth, 0.2);
  const BottomAxis bottom = plots.back().bottom(right - left);
  const BandRows bands = band_rows(figure.bands, plots.back().frame(left, right));
  BottomAxis ticks = bottom;  // of all panels but the lowest
  for (Tick& tick : ticks.ticks) tick.label.clear();
  std::vector<Legend> legends;
  double height = bottom.height + 0.02 + bands.height + 0.1;
  for (const LinePlot& plot : plots) {
    legends.push_back(plot.legend(left));
    height += kPanelTitle + legends.back().height + kPanelHeight + kPanelGap;
  }
  Drawing sheet(kSheetWidth, height);
  double top = height - 0.1;
  for (size_t i = 0; i < plots.size(); ++i) {
    sheet.text({left, top - kPanelTitle / 2}, visible_text(figures[i].title, kLongestName),
               {TextStyle::Align::left, kLabelSize, kInk, 0, false, true});
    top -= kPanelTitle + legends[i].height;
    plots[i].draw_legend(sheet, legends[i], top);
    if (i == 0) top -= bands.height;
    Frame frame = plots[i].frame(left, right);
    frame.box.top = top;
    frame.box.bottom = top -= kPanelHeight;
    const bool lowest = i + 1 == plots.size();
    plots[i].draw(sheet, frame, lowest ? figure.x : Axis{}, lowest ? bottom : ticks);
    if (i == 0) draw_band_labels(sheet, frame, figure.bands, bands, false);
    top -= kPanelGap;
  }
  return sheet;
}

}  // namespace spikescope
