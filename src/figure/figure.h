// A figure is data. Renderers turn it into files (gnuplot: SVG, PDF, PNG), into the web page (plotly.js), and into CSV.
//
// Strings in a figure may come from an untrusted model or prompt: every renderer takes them as they are and makes them
// harmless itself (text.h). Numbers that are NaN or infinite are left out of a picture: a gap, a blank cell.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace spikescope {

struct Axis {
  std::string label{};  ///< with unit where there is one
  bool log = false;     ///< values at or below 0 are left out
  std::optional<double> min{}, max{};
  std::vector<std::string> categories{};  ///< names of the positions 0, 1, ...; empty for numbers
};

/// A curve or a set of points. NaN in y is a gap, in errors a value without a whisker.
struct Series {
  enum class Mark { line, points, line_and_points, bars };
  std::string name{};  ///< in the legend; empty: not listed
  std::vector<double> x{}, y{};
  Mark mark = Mark::line;
  bool dashed = false;
  bool right_axis = false;
  std::vector<std::string> hover{};  ///< a text a point for the web page, '\n' starts a line; empty or as long as x
  std::vector<double> errors{};      ///< standard error of each y, drawn as y +- error; empty or as long as x
};

/// Whether any of its values has a standard error.
bool has_errors(const Series& series);

struct Lines {
  std::vector<Series> series{};
  Axis right{};  ///< second y axis; used when a series asks for it
};

/// Line plots one above the other over the figure's x axis, which they share as they do its bands. The figure's own y
/// axis is not used.
struct PanelStack {
  struct Panel {
    std::string title{};
    Axis y{};
    Lines lines{};
  };
  std::vector<Panel> panels{};
};

/// z[row * columns + column]; rows go up the y axis. NaN is blank.
struct HeatMap {
  std::vector<double> x{}, y{}, z{};
  std::string z_label{};
  std::optional<double> z_min{}, z_max{};
  bool z_log = false;
  std::vector<std::string> hover{};  ///< a text a cell; empty or as long as z
};

/// The same as a landscape in three dimensions (the papers' Figure 1: x dimension, y token, z |h|). A row is drawn as a
/// ridge of its own, so that a spike stands as a thin peak. Wide rows are thinned by taking the largest |z| of each bin
/// at its own x: no spike is lost or moved.
struct Surface {
  std::vector<double> x{}, y{}, z{};
  Axis z_axis{};
  std::vector<std::string> hover{};  ///< a text a cell; empty or as long as z
};

/// Running text whose tokens are coloured by a value.
struct TokenStrip {
  std::vector<std::string> tokens{};
  std::vector<double> values{};
  std::string value_label{};
  bool log = false;
  std::vector<int> marked{};         ///< indices of tokens to outline (spikes)
  std::vector<std::string> hover{};  ///< a text a token for the web page; empty or as long as tokens
};

/// A shaded range of x, e.g. a plateau of layers.
struct Band {
  double from = 0, to = 0;
  std::string label{};
};

struct Figure {
  std::string id{};  ///< file name without extension, e.g. "spikes-magnitude": letters, digits, '-' and '_'
  std::string title{};
  std::string caption{};  ///< what is shown, in which units, from which data; one to three sentences
  Axis x{}, y{};
  std::vector<Band> bands{};
  std::variant<Lines, HeatMap, Surface, TokenStrip, PanelStack> content{};
};

/// Throws Error, naming the figure, when the sizes of its arrays do not fit together or the id is no plain file name.
/// All renderers call it first.
void check_figure(const Figure& figure);

/// The panels of a figure, each as a figure of lines of its own over the range of x that all of them take.
std::vector<Figure> panel_figures(const Figure& figure, const PanelStack& stack);

/// A table of the report; numbers are formatted by whoever fills it in.
struct Table {
  std::string id{}, title{}, caption{};
  std::vector<std::string> columns{};
  std::vector<std::vector<std::string>> rows{};
};

}  // namespace spikescope
