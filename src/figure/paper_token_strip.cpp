// Running text, a box a token. A monospaced font makes the widths known without asking the terminal.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "figure/color_scale.h"
#include "figure/frame.h"
#include "figure/palette.h"
#include "figure/paper.h"
#include "figure/text.h"

namespace spikescope {
namespace {

constexpr double kSize = 8, kCell = 0.602 * kSize / 72;  // advance of the monospaced font
constexpr double kBoxHeight = 0.19, kLinePitch = 0.25, kGap = 0.025, kPad = 0.03;
constexpr double kLeft = 0.08, kRight = kSheetWidth - 0.08;
constexpr size_t kLongestToken = 40, kMostTokens = 600;

struct Placed {
  std::string text;
  double left, right;
  int line;
};

bool ends_line(const std::string& token) { return !token.empty() && token.back() == '\n'; }

std::vector<Placed> wrap(const std::vector<std::string>& tokens) {
  std::vector<Placed> placed;
  double x = kLeft;
  int line = 0;
  for (size_t i = 0; i < std::min(tokens.size(), kMostTokens); ++i) {
    const std::string text = visible_text(tokens[i], kLongestToken);
    const double width = static_cast<double>(std::max<size_t>(display_cells(text), 1)) * kCell + 2 * kPad;
    if (x > kLeft && x + width > kRight) {
      x = kLeft;
      ++line;
    }
    placed.push_back({text, x, x + width, line});
    x += width + kGap;
    if (ends_line(tokens[i]) && i + 1 < tokens.size()) {
      x = kLeft;
      ++line;
    }
  }
  return placed;
}

}  // namespace

Drawing draw_token_strip(const Figure& figure, const TokenStrip& strip) {
  const std::vector<Placed> placed = wrap(strip.tokens);
  const Range colors = color_range(strip.values, strip.log, std::nullopt, std::nullopt);
  const int lines = placed.empty() ? 1 : placed.back().line + 1;
  const double legend = 0.42;
  const bool cut = strip.tokens.size() > placed.size();
  const double top = legend + (cut ? kLinePitch : 0) + lines * kLinePitch + 0.04;
  Drawing sheet(kSheetWidth, top + 0.04);

  std::vector<Box> boxes;
  for (size_t i = 0; i < placed.size(); ++i) {
    const double bottom = top - (placed[i].line + 1) * kLinePitch;
    const double part = colors.position(strip.values[i]);
    const unsigned color = std::isnan(part) ? 0xF2F2F2 : palette_color(blues(), part);
    boxes.push_back({placed[i].left, bottom, placed[i].right, bottom + kBoxHeight, color});
    sheet.text({placed[i].left + kPad, bottom + kBoxHeight / 2}, placed[i].text,
               {TextStyle::Align::left, kSize, part > 0.6 ? "#ffffff" : kInk, 0, true});
  }
  if (!boxes.empty()) sheet.boxes(boxes);
  for (const int index : strip.marked) {
    if (index < 0 || static_cast<size_t>(index) >= boxes.size()) continue;
    const Box& box = boxes[static_cast<size_t>(index)];
    const PaperPoint outline[] = {{box.left, box.bottom},
                                  {box.right, box.bottom},
                                  {box.right, box.top},
                                  {box.left, box.top},
                                  {box.left, box.bottom}};
    sheet.line(outline, {kSpikeColor, 1.4, false});
  }
  if (cut) {
    sheet.text({kLeft, legend + kLinePitch / 2 + 0.03},
               fmt::format("and {} more tokens", strip.tokens.size() - placed.size()),
               {TextStyle::Align::left, kTickSize, kMuted});
  }
  draw_color_bar(sheet, {kLeft + 0.1, 0.22, kLeft + 1.6, 0.31, 0}, blues(), colors, strip.value_label);
  return sheet;
}

Drawing draw_paper(const Figure& figure) {
  check_figure(figure);
  struct Draw {
    const Figure& figure;
    Drawing operator()(const Lines& lines) const { return draw_lines(figure, lines); }
    Drawing operator()(const PanelStack& stack) const { return draw_panels(figure, stack); }
    Drawing operator()(const HeatMap& map) const { return draw_heat_map(figure, map); }
    Drawing operator()(const Surface& surface) const { return draw_surface(figure, surface); }
    Drawing operator()(const TokenStrip& strip) const { return draw_token_strip(figure, strip); }
  };
  return std::visit(Draw{figure}, figure.content);
}

}  // namespace spikescope
