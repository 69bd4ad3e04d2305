#pragma once

#include "figure/figure.h"
#include "io/json.h"

namespace spikescope {

/// The figure for plotly.js: {"data": [...], "layout": {...}}. Colours of data are set, those of text, grid and paper
/// left to the page, which knows its theme; `layout.height` is in pixels. All strings are made visible and escaped:
/// plotly.js reads a subset of HTML. A surface needs WebGL (a scene of scatter3d traces), the others SVG. A token strip
/// becomes bars; a page does better with spans. Panels come with a list
/// "panels" beside: of each its axis and legend (keys of the layout), its title (index of the annotation) and how many
/// traces are its. Throws Error for a figure that check_figure refuses.
Json to_plotly(const Figure& figure);

/// Whether to_plotly's traces need WebGL.
bool needs_webgl(const Figure& figure);

}  // namespace spikescope
