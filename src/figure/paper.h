// Layout of paper figures: which shapes and texts a figure becomes on a sheet.
#pragma once

#include "figure/drawing.h"
#include "figure/figure.h"

namespace spikescope {

/// The figure on a sheet 4.8 inches wide and as high as it needs. Title and caption are left to the page around it.
/// Throws Error for a figure that check_figure refuses.
Drawing draw_paper(const Figure& figure);

/// One function a kind of content, called by draw_paper.
Drawing draw_lines(const Figure& figure, const Lines& lines);
Drawing draw_panels(const Figure& figure, const PanelStack& stack);
Drawing draw_heat_map(const Figure& figure, const HeatMap& map);
Drawing draw_surface(const Figure& figure, const Surface& surface);
Drawing draw_token_strip(const Figure& figure, const TokenStrip& strip);

}  // namespace spikescope
