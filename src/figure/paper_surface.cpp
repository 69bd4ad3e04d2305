// The landscape of |h| in oblique projection: x runs to the right, rows recede to the upper right, z goes up. All
// labels stay level, and the front row reads off the z axis directly.
#include <algorithm>
#include <cmath>

#include "figure/frame.h"
#include "figure/palette.h"
#include "figure/paper.h"
#include "figure/text.h"
#include "figure/thin.h"

namespace spikescope {
namespace {

constexpr size_t kPointsARow = 600, kMostPeaks = 4;
constexpr double kHeight = 1.75;                // inches from the floor to the top of the z axis
constexpr double kDepthX = 1.0, kDepthY = 1.0;  // inches from the first row to the last
constexpr Stroke kFloorLine{"#e3e3e3", 0.5, false}, kEdge{kInk, 0.6, false};

class Landscape {
 public:
  Landscape(const Figure& figure, const Surface& surface)
      : figure_(figure),
        surface_(surface),
        rows_(thin_rows(surface, kPointsARow)),
        peaks_(peak_cells(surface, kMostPeaks)) {
    x_ = axis_range(figure.x, surface.x);
    y_ = axis_range(figure.y, surface.y);
    if (!surface.x.empty() && surface.x.front() < surface.x.back()) x_ = {surface.x.front(), surface.x.back(), false};
    if (!surface.y.empty()) y_ = {surface.y.front() - 0.5, std::max(surface.y.back(), surface.y.front()) + 0.5, false};
    z_ = axis_range(surface.z_axis, surface.z, !surface.z_axis.log);
    z_ticks_ = axis_ticks(surface.z_axis, z_, 5);
    y_ticks_ = axis_ticks(figure.y, y_, std::max(2, static_cast<int>(kDepthY / 0.11)));
    left_ = side_axis_width(surface.z_axis, z_ticks_, kHeight);
    right_ = 0.12 + std::max(widest_label(y_ticks_), 0.2);
    floor_width_ = kSheetWidth - left_ - right_ - kDepthX;
    bottom_axis_ = bottom_axis(figure.x, x_, floor_width_, all_whole(surface.x));
    bottom_ = bottom_axis_.height + 0.02;
  }

  Drawing draw() {
    Drawing sheet(kSheetWidth, bottom_ + kDepthY + kHeight + 0.22);
    draw_walls(sheet);
    for (size_t row = surface_.y.size(); row-- > 0;) draw_row(sheet, row);
    draw_axes(sheet);
    draw_peak_labels(sheet);
    return sheet;
  }

 private:
  /// x, y, z as parts of their axes, 0 to 1.
  PaperPoint project(double x, double y, double z) const {
    return {left_ + x * floor_width_ + y * kDepthX, bottom_ + y * kDepthY + z * kHeight};
  }
  double floor_level() const { return z_.log ? 0 : std::clamp(z_.position(0), 0.0, 1.0); }
  PaperPoint cell_point(size_t cell) const {
    const size_t columns = surface_.x.size();
    const double z = std::clamp(z_.position(surface_.z[cell]), 0.0, 1.0);  // clamp hands NaN on
    return project(x_.position(surface_.x[cell % columns]), y_.position(surface_.y[cell / columns]), z);
  }

  void draw_walls(Drawing& sheet) const {
    const PaperPoint floor[] = {project(0, 0, 0), project(1, 0, 0), project(1, 1, 0), project(0, 1, 0)};
    sheet.area(floor, "#fafafa");
    for (const Tick& tick : bottom_axis_.ticks) {
      const double x = x_.position(tick.at);
      sheet.line(project(x, 0, 0), project(x, 1, 0), kFloorLine);
      sheet.line(project(x, 1, 0), project(x, 1, 1), kFloorLine);
    }
    for (const Tick& tick : z_ticks_) {
      const double z = z_.position(tick.at);
      const PaperPoint wall[] = {project(0, 0, z), project(0, 1, z), project(1, 1, z)};
      sheet.line(wall, kFloorLine);
    }
    const PaperPoint outline[] = {project(0, 1, 0), project(0, 1, 1), project(1, 1, 1), project(1, 1, 0)};
    sheet.line(outline, kFloorLine);
  }

  /// A ridge: white beneath, so that it hides what lies behind, its crest, and its peaks in the colour of spikes.
  void draw_row(Drawing& sheet, size_t row) const {
    const double y = y_.position(surface_.y[row]);
    std::vector<PaperPoint> crest;
    for (const size_t cell : rows_[row]) crest.push_back(cell_point(cell));
    for (size_t begin = 0; begin < crest.size();) {
      size_t end = begin;
      while (end < crest.size() && std::isfinite(crest[end].y)) ++end;
      if (end > begin) {
        std::vector<PaperPoint> outline(crest.begin() + static_cast<std::ptrdiff_t>(begin),
                                        crest.begin() + static_cast<std::ptrdiff_t>(end));
        const double base = project(0, y, floor_level()).y;
        outline.push_back({crest[end - 1].x, base});
        outline.push_back({crest[begin].x, base});
        sheet.area(outline, "#40ffffff");
      }
      begin = end + 1;
    }
    const bool crowded = surface_.y.size() > 24;
    sheet.line(crest, {kRidgeColor, crowded ? 0.5 : 0.8, false});
    for (size_t i = 0; i < crest.size(); ++i) {
      if (std::find(peaks_.begin(), peaks_.end(), rows_[row][i]) == peaks_.end()) continue;
      std::vector<PaperPoint> peak(crest.begin() + static_cast<std::ptrdiff_t>(i > 0 ? i - 1 : 0),
                                   crest.begin() + static_cast<std::ptrdiff_t>(std::min(i + 2, crest.size())));
      sheet.area(peak, "#80d55e00");
      sheet.line(peak, {kSpikeColor, 1.1, false});
    }
  }

  void draw_axes(Drawing& sheet) const {
    const Frame front{{left_, bottom_, left_ + floor_width_, bottom_ + kHeight, 0}, x_, z_};
    draw_bottom_axis(sheet, front, figure_.x, bottom_axis_);
    draw_side_axis(sheet, front, z_, surface_.z_axis, z_ticks_, false);
    sheet.line(project(1, 0, 0), project(1, 1, 0), kEdge);
    for (const Tick& tick : y_ticks_) {
      const PaperPoint at = project(1, y_.position(tick.at), 0);
      sheet.line(at, {at.x + 0.035, at.y}, kEdge);
      sheet.text({at.x + 0.075, at.y}, tick.label, {TextStyle::Align::left, kTickSize, kInk});
    }
    if (figure_.y.label.empty()) return;
    sheet.text({left_ + floor_width_ + 0.075, bottom_ - bottom_axis_.height + 0.095}, visible_text(figure_.y.label, 40),
               {TextStyle::Align::left, kLabelSize, kInk});
  }

  /// What and where the largest values are, to the right or left of their tips; where neither side is free, nothing.
  void draw_peak_labels(Drawing& sheet) const {
    std::vector<Box> taken;
    for (const size_t cell : peaks_) {  // the peaks themselves, as thin boxes
      const PaperPoint tip = cell_point(cell);
      const double base = project(0, y_.position(surface_.y[cell / surface_.x.size()]), floor_level()).y;
      taken.push_back({tip.x - 0.02, std::min(base, tip.y), tip.x + 0.02, std::max(base, tip.y), 0});
    }
    for (const size_t cell : peaks_) {
      const PaperPoint tip = cell_point(cell);
      const std::string text =
          value_label(surface_.z[cell]) + " at " + column_name(surface_.x[cell % surface_.x.size()]);
      const double width = 1.08 * text_inches(text, kTickSize);  // bold
      for (const double start : {tip.x + 0.06, tip.x - 0.06 - width}) {
        const Box box{start, tip.y - 0.07, start + width, tip.y + 0.07, 0};
        const bool free = std::none_of(taken.begin(), taken.end(), [&](const Box& other) {
          return box.left < other.right && other.left < box.right && box.bottom < other.top && other.bottom < box.top;
        });
        if (!free || box.left < left_ || box.right > kSheetWidth) continue;
        taken.push_back(box);
        const PaperPoint veil[] = {
            {box.left, box.bottom}, {box.right, box.bottom}, {box.right, box.top}, {box.left, box.top}};
        sheet.area(veil, "#30ffffff");
        const bool right = start > tip.x;
        sheet.text({right ? start : tip.x - 0.06, tip.y}, text,
                   {right ? TextStyle::Align::left : TextStyle::Align::right, kTickSize, kSpikeColor, 0, false, true});
        break;
      }
    }
  }

  std::string column_name(double x) const {
    const auto& names = figure_.x.categories;
    const bool named = x >= 0 && x < static_cast<double>(names.size());
    return named ? visible_text(names[static_cast<size_t>(x)], 18) : number_label(x, 1);
  }

  const Figure& figure_;
  const Surface& surface_;
  std::vector<std::vector<size_t>> rows_;
  std::vector<size_t> peaks_;
  Range x_, y_, z_;
  std::vector<Tick> z_ticks_, y_ticks_;
  BottomAxis bottom_axis_;
  double left_ = 0, right_ = 0, floor_width_ = 0, bottom_ = 0;
};

}  // namespace

Drawing draw_surface(const Figure& figure, const Surface& surface) { return Landscape(figure, surface).draw(); }

}  // namespace spikescope
