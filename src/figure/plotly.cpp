#include "figure/plotly.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "figure/color_scale.h"
#include "figure/palette.h"
#include "figure/text.h"
#include "figure/thin.h"
#include "figure/ticks.h"

namespace spikescope {
namespace {

constexpr size_t kLongestHover = 400, kLongestName = 18, kMostPeaks = 4;
constexpr double kPanelHeight = 210;     // pixels with title and legend
constexpr size_t kSurfacePoints = 8000;  // of all rows; more makes the page heavy and shows nothing new
constexpr std::string_view kBandColor = "rgba(128,118,90,0.13)";
constexpr std::string_view kWhiskerColor = "rgba(128,128,128,0.9)";  // on bars, seen on a light and on a dark page

/// "#0072b2" with opacity.
std::string faint(std::string_view color) {
  const auto part = [&](size_t at) { return std::strtol(std::string(color.substr(at, 2)).c_str(), nullptr, 16); };
  return fmt::format("rgba({},{},{},0.45)", part(1), part(3), part(5));
}

/// One line for plotly.js.
std::string label(std::string_view text, size_t most = 120) { return escape_markup(visible_text(text, most)); }

/// Lines of a hover text.
std::string hover_text(std::string_view text) {
  std::string out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (begin > 0) out += "<br>";
    out += label(text.substr(begin, end - begin), kLongestHover);
    begin = end + 1;
  }
  return out;
}

/// Seven digits: those of a float, and half the size of the page that all seventeen make.
Json number(double value, bool log = false) {
  if (!drawable(value, log)) return nullptr;
  return std::strtod(fmt::format("{:.7g}", value).c_str(), nullptr);
}

Json numbers(const std::vector<double>& values, bool log = false) {
  Json out = Json::array();
  for (const double value : values) out.push_back(number(value, log));
  return out;
}

Json hover_texts(const std::vector<std::string>& texts) {
  Json out = Json::array();
  for (const std::string& text : texts) out.push_back(hover_text(text));
  return out;
}

Json color_steps(std::span<const std::string_view> palette) {
  Json out = Json::array();
  for (size_t i = 0; i < palette.size(); ++i) {
    out.push_back({static_cast<double>(i) / static_cast<double>(palette.size() - 1), std::string(palette[i])});
  }
  return out;
}

/// Ticks given one by one, at `place(at)`.
void set_ticks(Json& out, const std::vector<Tick>& ticks, auto place) {
  out["tickmode"] = "array";
  out["tickvals"] = Json::array();
  out["ticktext"] = Json::array();
  for (const Tick& tick : ticks) {
    out["tickvals"].push_back(place(tick.at));
    out["ticktext"].push_back(escape_markup(tick.label));
  }
}

Json axis_json(const Axis& axis) {
  Json out{{"automargin", true}, {"zeroline", false}};
  if (!axis.label.empty()) out["title"] = {{"text", label(axis.label)}};
  if (!axis.categories.empty()) {
    set_ticks(out, axis_ticks(axis, axis_range(axis, {}), 64), [](double at) { return at; });
    out["range"] = {-0.5, static_cast<double>(axis.categories.size()) - 0.5};
    return out;
  }
  if (axis.log) {
    out["type"] = "log";
    out["exponentformat"] = "power";
    out["tickmode"] = "linear";
    out["dtick"] = 1;
  } else {
    out["separatethousands"] = true;
    out["exponentformat"] = "none";
  }
  const bool has_min = axis.min && drawable(*axis.min, axis.log), has_max = axis.max && drawable(*axis.max, axis.log);
  const auto end = [&](bool given, const std::optional<double>& value) {
    return given ? Json(axis.log ? std::log10(*value) : *value) : Json(nullptr);
  };
  if (has_min || has_max) out["range"] = Json::array({end(has_min, axis.min), end(has_max, axis.max)});
  return out;
}

/// Bands as rectangles behind the data with their labels above the plot; over cells the label alone with a bracket.
/// `yref`: the plot they belong to, of several one above the other.
void add_bands(Json& layout, const std::vector<Band>& bands, bool shade, const std::string& yref = "paper",
               bool labels = true) {
  if (bands.empty()) return;
  for (const char* key : {"shapes", "annotations"})
    if (!layout.contains(key)) layout[key] = Json::array();
  for (const Band& band : bands) {
    if (!std::isfinite(band.from) || !std::isfinite(band.to)) continue;
    Json shape{{"type", "rect"},
               {"xref", "x"},
               {"yref", yref},
               {"x0", band.from},
               {"x1", band.to},
               {"y0", shade ? 0.0 : 1.012},
               {"y1", shade ? 1.0 : 1.022},
               {"layer", "below"},
               {"line", {{"width", 0}}},
               {"fillcolor", shade ? std::string(kBandColor) : "rgba(128,128,128,0.8)"}};
    layout["shapes"].push_back(shape);
    if (!labels) continue;
    layout["annotations"].push_back({{"text", label(band.label, 40)},
                                     {"x", (band.from + band.to) / 2},
                                     {"xref", "x"},
                                     {"y", 1.0},
                                     {"yref", yref},
                                     {"yanchor", "bottom"},
                                     {"yshift", shade ? 0 : 5},
                                     {"showarrow", false},
                                     {"font", {{"size", 12}}}});
  }
}

Json base_layout(int height) { return {{"height", height}, {"hovermode", "closest"}}; }

struct PlotlyMaker {
  const Figure& figure;

  Json operator()(const Lines& lines) const {
    Json layout = base_layout(380), data = Json::array();
    layout["xaxis"] = axis_json(figure.x);
    layout["yaxis"] = axis_json(figure.y);
    bool listed = false;
    for (size_t i = 0; i < lines.series.size(); ++i) {
      data.push_back(series_json(lines, i));
      listed |= !lines.series[i].name.empty();
    }
    if (has_right_axis(lines)) layout["yaxis2"] = right_axis_json(lines.right, "y");
    layout["showlegend"] = listed;
    layout["legend"] = {{"orientation", "h"}, {"x", 0}, {"y", 1.0}, {"yref", "container"}, {"yanchor", "top"}};
    layout["bargap"] = 0.24;
    add_bands(layout, figure.bands, true);
    return {{"data", data}, {"layout", layout}};
  }

  /// Panels share the x axis below the lowest of them. Each has two y axes' numbers to itself, a legend, and its title
  /// as the annotation of that place in `panels`, by which the page makes room for what its width breaks into rows.
  Json operator()(const PanelStack& stack) const {
    const std::vector<Figure> figures = panel_figures(figure, stack);
    const auto count = static_cast<double>(figures.size());
    Json layout = base_layout(static_cast<int>(60 + kPanelHeight * count)), data = Json::array(), parts = Json::array();
    layout["xaxis"] = axis_json(figures.empty() ? figure.x : figures[0].x);
    layout["showlegend"] = true;
    layout["annotations"] = Json::array();
    for (size_t i = 0; i < figures.size(); ++i) {
      const Lines& lines = stack.panels[i].lines;
      const auto numbered = [](const char* what, size_t n) { return n == 1 ? what : fmt::format("{}{}", what, n); };
      const std::string left = numbered("y", 2 * i + 1), right = numbered("y", 2 * i + 2),
                        legend = numbered("legend", i + 1);
      const double top = 1 - static_cast<double>(i) / count, bottom = 1 - (static_cast<double>(i) + 0.72) / count;
      layout[numbered("yaxis", 2 * i + 1)] = axis_json(stack.panels[i].y);
      layout[numbered("yaxis", 2 * i + 1)]["domain"] = {bottom, bottom + 0.72 * (top - bottom)};
      if (has_right_axis(lines)) layout[numbered("yaxis", 2 * i + 2)] = right_axis_json(lines.right, left);
      layout[legend] = {{"orientation", "h"}, {"x", 0}, {"xanchor", "left"}, {"y", top}, {"yanchor", "top"}};
      parts.push_back({{"axis", numbered("yaxis", 2 * i + 1)},
                       {"legend", legend},
                       {"title", layout["annotations"].size()},
                       {"traces", lines.series.size()}});
      layout["annotations"].push_back({{"text", "<b>" + label(stack.panels[i].title) + "</b>"},
                                       {"x", 0},
                                       {"xref", "paper"},
                                       {"xanchor", "left"},
                                       {"align", "left"},
                                       {"y", top},
                                       {"yref", "paper"},
                                       {"yanchor", "bottom"},
                                       {"showarrow", false},
                                       {"font", {{"size", 13}}}});
      add_bands(layout, figure.bands, true, left + " domain", i == 0);
      for (size_t k = 0; k < lines.series.size(); ++k) {
        Json trace = PlotlyMaker{figures[i]}.series_json(lines, k);
        trace["xaxis"] = "x";
        trace["yaxis"] = lines.series[k].right_axis ? right : left;
        trace["legend"] = legend;
        data.push_back(std::move(trace));
      }
      layout["xaxis"]["anchor"] = left;
    }
    return {{"data", data}, {"layout", layout}, {"panels", parts}};
  }

  static bool has_right_axis(const Lines& lines) {
    return std::any_of(lines.series.begin(), lines.series.end(), [](const Series& s) { return s.right_axis; });
  }
  static Json right_axis_json(const Axis& axis, const std::string& over) {
    Json out = axis_json(axis);
    out["overlaying"] = over;
    out["side"] = "right";
    out["showgrid"] = false;
    if (!axis.log) out["tickmode"] = "auto";  // round numbers of its own rather than the left axis's lines
    return out;
  }

  Json series_json(const Lines& lines, size_t index) const {
    const Series& series = lines.series[index];
    const std::string color(series_color(index));
    const Axis& y_axis = series.right_axis ? lines.right : figure.y;
    const bool bars = series.mark == Series::Mark::bars;
    Json trace{{"type", bars ? "bar" : "scatter"},
               {"x", numbers(series.x, figure.x.log)},
               {"y", numbers(series.y, y_axis.log)}};
    trace["name"] = label(series.name, 60);
    trace["showlegend"] = !series.name.empty();
    if (bars) {
      trace["marker"] = {{"color", color}};
    } else {
      static constexpr const char* modes[] = {"lines", "markers", "lines+markers"};
      trace["mode"] = modes[static_cast<int>(series.mark)];
      trace["connectgaps"] = false;
      trace["line"] = {{"color", color}, {"width", 2}, {"dash", series.dashed ? "dash" : "solid"}};
      trace["marker"] = {{"color", color}, {"size", 6}};
    }
    if (has_errors(series)) {
      // As faint as an area where points are dense, so that the curve itself stays in sight.
      trace["error_y"] = {{"type", "data"},
                          {"array", numbers(series.errors)},
                          {"color", bars ? std::string(kWhiskerColor) : faint(color)},
                          {"thickness", bars ? 1.2 : 2.5},
                          {"width", bars ? 3 : 0}};
    }
    if (series.right_axis) trace["yaxis"] = "y2";
    if (!series.hover.empty()) {
      trace["hoverinfo"] = "text";
      trace["hovertext"] = hover_texts(series.hover);
    }
    return trace;
  }

  Json operator()(const HeatMap& map) const {
    const int rows = static_cast<int>(std::min<size_t>(map.y.size(), 1000));
    Json layout = base_layout(std::clamp(120 + 26 * rows, 260, 620));
    layout["xaxis"] = cell_axis(figure.x, map.x);
    layout["yaxis"] = cell_axis(figure.y, map.y);
    const Range colors = color_range(map.z, map.z_log, map.z_min, map.z_max);
    const auto scaled = [&](double value) { return map.z_log ? std::log10(value) : value; };
    Json z = Json::array();
    for (size_t row = 0; row < map.y.size(); ++row) {
      Json line = Json::array();
      for (size_t column = 0; column < map.x.size(); ++column) {
        const double value = map.z[row * map.x.size() + column];
        line.push_back(drawable(value, map.z_log) ? number(scaled(value)) : Json(nullptr));
      }
      z.push_back(std::move(line));
    }
    Json bar{{"thickness", 12}, {"outlinewidth", 0}, {"len", 1}, {"ypad", 0}, {"xpad", 8}};
    bar["title"] = {{"text", label(map.z_label, 60)}, {"side", "right"}};
    if (map.z_log) {
      Axis axis;
      axis.log = true;
      set_ticks(bar, axis_ticks(axis, colors, 5), [](double at) { return std::log10(at); });
    }
    Json trace{{"type", "heatmap"},
               {"x", numbers(map.x)},
               {"y", numbers(map.y)},
               {"z", z},
               {"zmin", scaled(colors.low)},
               {"zmax", scaled(colors.high)},
               {"colorscale", color_steps(viridis())},
               {"colorbar", bar},
               {"hoverongaps", false}};
    if (map.z.size() <= 3000) {
      trace["xgap"] = 1;
      trace["ygap"] = 1;
    }
    if (map.hover.empty()) {
      trace["hoverinfo"] = "x+y+z";
    } else {
      trace["hoverinfo"] = "text";
      trace["hovertext"] = Json::array();
      for (size_t row = 0; row < map.y.size(); ++row) {
        const auto begin = map.hover.begin() + static_cast<std::ptrdiff_t>(row * map.x.size());
        trace["hovertext"].push_back(hover_texts({begin, begin + static_cast<std::ptrdiff_t>(map.x.size())}));
      }
    }
    add_bands(layout, figure.bands, false);
    return {{"data", Json::array({trace})}, {"layout", layout}};
  }

  /// An axis along cells: no grid between them, whole numbers where they are counted.
  Json cell_axis(const Axis& axis, const std::vector<double>& at) const {
    Axis linear = axis;
    linear.log = false;
    Json out = axis_json(linear);
    out["showgrid"] = false;
    if (axis.categories.empty() && all_whole(at) && at.size() <= 12) out["dtick"] = 1;
    return out;
  }

  Json operator()(const Surface& surface) const {
    const size_t columns = surface.x.size(), rows = surface.y.size();
    const auto kept = thin_rows(surface, std::max<size_t>(64, kSurfacePoints / std::max<size_t>(rows, 1)));
    Json ridges{{"type", "scatter3d"},
                {"mode", "lines"},
                {"showlegend", false},
                {"connectgaps", false},
                {"line", {{"color", std::string(kRidgeColor)}, {"width", 2}}}};
    ridges["hoverinfo"] = "text";
    const Points points{figure, surface};
    points.begin(ridges);
    for (const auto& row : kept) {
      for (const size_t cell : row) points.add(ridges, cell);
      points.gap(ridges);  // one trace of many lines: fast to draw
    }
    Json needles{{"type", "scatter3d"},
                 {"mode", "lines+markers+text"},
                 {"showlegend", false},
                 {"connectgaps", false},
                 {"line", {{"color", std::string(kSpikeColor)}, {"width", 5}}},
                 {"marker", {{"color", std::string(kSpikeColor)}, {"size", Json::array()}, {"line", {{"width", 0}}}}}};
    needles["hoverinfo"] = "text";
    needles["text"] = Json::array();
    needles["textposition"] = "top center";
    needles["textfont"] = {{"color", std::string(kSpikeColor)}, {"size", 12}};
    points.begin(needles);
    const double floor = surface.z_axis.log ? axis_range(surface.z_axis, surface.z).low : 0;
    for (const size_t cell : peak_cells(surface, kMostPeaks)) {  // tip, foot, gap; the largest with its value
      const bool largest = needles["text"].empty();
      points.add(needles, cell);
      points.add(needles, cell);
      needles["z"].back() = floor;
      points.gap(needles);
      needles["text"].push_back(largest ? value_label(surface.z[cell]) : "");
      needles["text"].push_back("");
      needles["text"].push_back("");
      for (const int size : {4, 0, 0}) needles["marker"]["size"].push_back(size);
    }
    Json layout = base_layout(500);
    layout["scene"] = {
        {"xaxis", scene_axis(figure.x)}, {"yaxis", scene_axis(figure.y)}, {"zaxis", scene_axis(surface.z_axis)}};
    if (columns > 0) layout["scene"]["xaxis"]["range"] = {surface.x.front(), surface.x.back()};
    if (rows > 0) layout["scene"]["yaxis"]["range"] = {surface.y.front() - 0.5, surface.y.back() + 0.5};
    layout["scene"]["aspectmode"] = "manual";
    layout["scene"]["aspectratio"] = {{"x", 1.6}, {"y", 1.1}, {"z", 0.75}};
    layout["scene"]["camera"] = {{"eye", {{"x", -0.5}, {"y", -1.7}, {"z", 0.7}}},
                                 {"center", {{"x", 0}, {"y", 0}, {"z", -0.1}}},
                                 {"projection", {{"type", "orthographic"}}}};
    return {{"data", Json::array({ridges, needles})}, {"layout", layout}};
  }

  /// Cells of a surface as points of a trace.
  struct Points {
    const Figure& figure;
    const Surface& surface;

    void begin(Json& trace) const {
      for (const char* key : {"x", "y", "z", "hovertext"}) trace[key] = Json::array();
    }
    void add(Json& trace, size_t cell) const {
      const size_t columns = surface.x.size();
      const double x = surface.x[cell % columns], y = surface.y[cell / columns], z = surface.z[cell];
      trace["x"].push_back(number(x));
      trace["y"].push_back(number(y));
      trace["z"].push_back(number(z, surface.z_axis.log));
      trace["hovertext"].push_back(surface.hover.empty() ? plain_hover(x, y, z) : hover_text(surface.hover[cell]));
    }
    void gap(Json& trace) const {
      for (const char* key : {"x", "y", "z"}) trace[key].push_back(nullptr);
      trace["hovertext"].push_back("");
    }
    std::string plain_hover(double x, double y, double z) const {
      return part(figure.x, x) + "<br>" + part(figure.y, y) + "<br>" + part(surface.z_axis, z);
    }
    static std::string part(const Axis& axis, double value) {
      const bool named = value >= 0 && value < static_cast<double>(axis.categories.size());
      const std::string shown =
          named ? label(axis.categories[static_cast<size_t>(value)], kLongestName) : value_label(value);
      return label(axis.label, 40) + " " + shown;
    }
  };

  /// A space's axes show entities as they are, and take < for a tag: such brackets are drawn as angle quotes.
  Json scene_axis(Axis axis) const {
    for (std::string& category : axis.categories)
      for (const auto& [bracket, quote] : {std::pair{"<", "‹"}, {">", "›"}, {"&", "＆"}})
        for (size_t at = 0; (at = category.find(bracket, at)) != std::string::npos; at += std::strlen(quote))
          category.replace(at, 1, quote);
    Json out = axis_json(axis);
    out.erase("automargin");
    if (axis.categories.empty() && !axis.log) out["nticks"] = 6;
    if (!axis.categories.empty())
      set_ticks(out, axis_ticks(axis, axis_range(axis, {}), 10), [](double at) { return at; });
    return out;
  }

  Json operator()(const TokenStrip& strip) const {
    Figure bars;
    bars.x.categories = strip.tokens;
    bars.y.label = strip.value_label;
    bars.y.log = strip.log;
    Series series;
    for (size_t i = 0; i < strip.tokens.size(); ++i) series.x.push_back(static_cast<double>(i));
    series.y = strip.values;
    series.mark = Series::Mark::bars;
    series.hover = strip.hover;
    return PlotlyMaker{bars}(Lines{{series}, {}});
  }
};

}  // namespace

Json to_plotly(const Figure& figure) {
  check_figure(figure);
  return std::visit(PlotlyMaker{figure}, figure.content);
}

bool needs_webgl(const Figure& figure) { return std::holds_alternative<Surface>(figure.content); }

}  // namespace spikescope
