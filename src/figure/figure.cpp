#include "figure/figure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/fail.h"

namespace spikescope {
namespace {

void expect_size(const Figure& figure, std::string_view what, size_t found, size_t expected) {
  if (found != expected) {
    fail("figure {}: {} has {} entries, {} are expected; this is a fault of the analysis that made it", figure.id, what,
         found, expected);
  }
}

void expect_hover(const Figure& figure, size_t found, size_t expected) {
  if (found != 0) expect_size(figure, "hover", found, expected);
}

struct SizeCheck {
  const Figure& figure;

  void operator()(const Lines& lines) const {
    for (const Series& series : lines.series) {
      expect_size(figure, "y of a series", series.y.size(), series.x.size());
      expect_hover(figure, series.hover.size(), series.x.size());
      if (!series.errors.empty()) expect_size(figure, "errors of a series", series.errors.size(), series.x.size());
    }
  }
  void operator()(const PanelStack& stack) const {
    for (const PanelStack::Panel& panel : stack.panels) (*this)(panel.lines);
  }
  void operator()(const HeatMap& map) const { check_grid(map); }
  void operator()(const Surface& surface) const { check_grid(surface); }
  void operator()(const TokenStrip& strip) const {
    expect_size(figure, "values", strip.values.size(), strip.tokens.size());
    expect_hover(figure, strip.hover.size(), strip.tokens.size());
  }
  template <class Grid>
  void check_grid(const Grid& grid) const {
    expect_size(figure, "z", grid.z.size(), grid.x.size() * grid.y.size());
    expect_hover(figure, grid.hover.size(), grid.z.size());
  }
};

}  // namespace

bool has_errors(const Series& series) {
  return std::any_of(series.errors.begin(), series.errors.end(), [](double error) { return std::isfinite(error); });
}

void check_figure(const Figure& figure) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  if (figure.id.empty() || figure.id.size() > 100 || !std::all_of(figure.id.begin(), figure.id.end(), plain)) {
    fail("figure \"{}\": an id is 1 to 100 letters, digits, '-' and '_', since it becomes a file name", figure.title);
  }
  std::visit(SizeCheck{figure}, figure.content);
}

std::vector<Figure> panel_figures(const Figure& figure, const PanelStack& stack) {
  constexpr double kAir = 0.015;  // beside the outermost points, as a share of the range
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const PanelStack::Panel& panel : stack.panels) {
    for (const Series& series : panel.lines.series) {
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!std::isfinite(series.x[i]) || !std::isfinite(series.y[i])) continue;
        low = std::min(low, series.x[i]);
        high = std::max(high, series.x[i]);
      }
    }
  }
  std::vector<Figure> figures;
  for (const PanelStack::Panel& panel : stack.panels) {
    Figure& one =
        figures.emplace_back(Figure{figure.id, panel.title, "", figure.x, panel.y, figure.bands, panel.lines});
    if (low < high && !figure.x.log) {
      if (!one.x.min) one.x.min = low - kAir * (high - low);
      if (!one.x.max) one.x.max = high + kAir * (high - low);
    }
  }
  return figures;
}

}  // namespace spikescope
