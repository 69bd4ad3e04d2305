#include <algorithm>
#include <cmath>

#include "figure/color_scale.h"
#include "figure/frame.h"
#include "figure/palette.h"
#include "figure/paper.h"

namespace spikescope {
namespace {

constexpr size_t kMostBoxes = 3000;  // more cells become a raster: an SVG of boxes would have megabytes
constexpr size_t kRasterColumns = 720;
constexpr double kGap = 0.006;  // inches of white between cells

/// Borders of cells around the given positions, which must rise: halfway between neighbours.
std::vector<double> cell_edges(const std::vector<double>& at) {
  if (at.empty()) return {0, 1};
  if (at.size() == 1) return {at[0] - 0.5, at[0] + 0.5};
  std::vector<double> edges{at[0] - (at[1] - at[0]) / 2};
  for (size_t i = 1; i < at.size(); ++i) edges.push_back((at[i - 1] + at[i]) / 2);
  edges.push_back(at.back() + (at.back() - at[at.size() - 2]) / 2);
  return edges;
}

/// First and last cell that a pixel of an axis covers.
struct Cover {
  size_t first, last;
};

std::vector<Cover> covers(const std::vector<double>& edges, size_t pixels) {
  const double low = edges.front(), span = edges.back() - edges.front();
  const auto cell_of = [&](double value) {
    const auto above = std::upper_bound(edges.begin(), edges.end(), value);
    return std::clamp<std::ptrdiff_t>(above - edges.begin() - 1, 0, static_cast<std::ptrdiff_t>(edges.size()) - 2);
  };
  std::vector<Cover> out;
  for (size_t i = 0; i < pixels; ++i) {
    const double begin = low + span * static_cast<double>(i) / static_cast<double>(pixels);
    const double end = low + span * static_cast<double>(i + 1) / static_cast<double>(pixels);
    const size_t first = static_cast<size_t>(cell_of(begin + 1e-9 * span));
    out.push_back({first, std::max(first, static_cast<size_t>(cell_of(end - 1e-9 * span)))});
  }
  return out;
}

void draw_raster(Drawing& sheet, const Frame& frame, const HeatMap& map, const std::vector<double>& x_edges,
                 const std::vector<double>& y_edges, const Range& colors) {
  const double aspect = (frame.box.top - frame.box.bottom) / (frame.box.right - frame.box.left);
  const size_t rows = std::max<size_t>(1, static_cast<size_t>(kRasterColumns * aspect));
  const auto across = covers(x_edges, kRasterColumns), up = covers(y_edges, rows);
  std::vector<unsigned> pixels;
  for (const Cover& y : up) {
    for (const Cover& x : across) {
      double largest = NAN;  // of the cells under the pixel: a lone large one must not vanish
      for (size_t row = y.first; row <= y.last; ++row) {
        for (size_t column = x.first; column <= x.last; ++column) {
          const double z = map.z[row * map.x.size() + column];
          if (drawable(z, map.z_log) && !(std::abs(z) <= std::abs(largest))) largest = z;
        }
      }
      pixels.push_back(std::isnan(largest) ? 0xFFFFFF : palette_color(viridis(), colors.position(largest)));
    }
  }
  sheet.raster(frame.box, kRasterColumns, rows, pixels);
}

void draw_cells(Drawing& sheet, const Frame& frame, const HeatMap& map, const std::vector<double>& x_edges,
                const std::vector<double>& y_edges, const Range& colors) {
  std::vector<Box> cells;
  for (size_t row = 0; row < map.y.size(); ++row) {
    for (size_t column = 0; column < map.x.size(); ++column) {
      const double z = map.z[row * map.x.size() + column];
      if (!drawable(z, map.z_log)) continue;
      cells.push_back({frame.at_x(x_edges[column]), frame.at_y(y_edges[row]), frame.at_x(x_edges[column + 1]) - kGap,
                       frame.at_y(y_edges[row + 1]) - kGap, palette_color(viridis(), colors.position(z))});
    }
  }
  if (!cells.empty()) sheet.boxes(cells);
}

}  // namespace

Drawing draw_heat_map(const Figure& figure, const HeatMap& map) {
  const std::vector<double> x_edges = cell_edges(map.x), y_edges = cell_edges(map.y);
  const Range colors = color_range(map.z, map.z_log, map.z_min, map.z_max);
  const double rows = static_cast<double>(std::max<size_t>(map.y.size(), 1));
  const double columns = static_cast<double>(std::max<size_t>(map.x.size(), 1));

  // Cells are drawn in the order of x and y: an axis of a heat map is linear between its outer edges.
  Range x_range{x_edges.front(), x_edges.back()}, y_range{y_edges.front(), y_edges.back()};
  if (!(x_range.low < x_range.high)) x_range = {0, 1};
  if (!(y_range.low < y_range.high)) y_range = {0, 1};
  const double guess = 3.4;  // width of the cells before the labels are known
  const double height = std::clamp(guess / columns * rows, std::min(0.17 * rows, 3.6), std::min(0.26 * rows, 3.6));
  const double plot_height = std::max(height, 0.9);
  const bool few_rows = plot_height / rows > 0.15 || (!figure.y.categories.empty() && plot_height / rows > 0.12);
  const std::vector<Tick> y_ticks =
      axis_ticks(figure.y, y_range, few_rows ? static_cast<int>(rows) : 9, all_whole(map.y));

  const double right = kSheetWidth - 0.25 - color_bar_width(colors, map.z_label, plot_height);
  const auto bottom_from = [&](double left) { return bottom_axis(figure.x, x_range, right - left, all_whole(map.x)); };
  double left = side_axis_width(figure.y, y_ticks, plot_height);
  left = std::max(left, std::min(1.2, bottom_from(left).overhang));
  const BottomAxis bottom = bottom_from(left);
  Frame frame{{left, 0, right, 0, 0}, x_range, y_range};
  const BandRows bands = band_rows(figure.bands, frame);
  frame.box.bottom = bottom.height + 0.02;
  frame.box.top = frame.box.bottom + plot_height;
  Drawing sheet(kSheetWidth, frame.box.top + bands.height + (figure.bands.empty() ? 0.1 : 0.12));

  if (map.z.size() > kMostBoxes) {
    draw_raster(sheet, frame, map, x_edges, y_edges, colors);
  } else {
    draw_cells(sheet, frame, map, x_edges, y_edges, colors);
  }
  draw_bottom_axis(sheet, frame, figure.x, bottom);
  draw_side_axis(sheet, frame, y_range, figure.y, y_ticks, false);
  draw_band_labels(sheet, frame, figure.bands, bands, true);
  const Box bar{frame.box.right + 0.14, frame.box.bottom, frame.box.right + 0.25, frame.box.top, 0};
  draw_color_bar(sheet, bar, viridis(), colors, map.z_label);
  return sheet;
}

}  // namespace spikescope
