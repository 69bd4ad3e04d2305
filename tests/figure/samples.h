// Figures shaped like those of a report on SmolLM2-135M: 31 residual states, 9 heads, 9 tokens, 576 dimensions. For
// tests of the renderers; the numbers are made up where a formula says so.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "figure/figure.h"

namespace spikescope::testing {

inline const std::vector<std::string>& sample_tokens() {
  static const std::vector<std::string> tokens = {"Summer", " is", " warm", ".", " Winter", " is", " cold", ".", "\n"};
  return tokens;
}

inline std::vector<double> counting(size_t n) {
  std::vector<double> out;
  for (size_t i = 0; i < n; ++i) out.push_back(static_cast<double>(i));
  return out;
}

/// The three largest |h| and the median of each residual state, log axis, plateaus shaded.
inline Figure magnitude_figure() {
  Series first{"largest |h|",
               counting(31),
               {0.8,     33.9,    206.1,   713,     709.7,   706,     699.1,   693.5,   683,   570.5,   117.5,
                115.2,   23147.1, 23138.3, 23125.1, 23111.8, 23095.3, 23080.1, 23064.8, 23056, 23048.5, 23048,
                23057.1, 23050.8, 23053.2, 23016.5, 23018.8, 23011.8, 22764,   8442.4,  2920.9},
               Series::Mark::line_and_points};
  Series second{
      "second", counting(31), {0.8,    24,     79.1,   128.2,  126.1,  123.8,  119.4,  118.2,  116.5,  93.1,   116.5,
                               107.8,  1692.8, 1699.2, 1708.3, 1717.5, 1717.3, 1728.5, 1737.1, 1742.5, 1747.7, 1751.3,
                               1740.5, 1739.4, 1739.2, 1798,   1801.4, 1803.2, 1861.1, 1947.6, 2564.6}};
  Series third{"third", counting(31), {0.6,   23.3,  59.2,  122,   121.7, 121,   118.8, 115.5, 111.4, 83.2,  94.9,
                                       93.3,  850,   851.8, 854.3, 856.8, 855.3, 858.1, 859.7, 860.8, 862.3, 861.7,
                                       858.2, 858.1, 856,   852.1, 851.6, 851.6, 812.1, 797.7, 1479.4}};
  Series median{
      "median |h|",
      counting(31),
      {0.067, 0.555, 0.722, 0.897, 1.061, 1.169, 1.244, 1.402, 1.439, 1.543, 1.609, 1.626, 1.721, 1.852,  1.859, 2.174,
       2.414, 2.593, 2.973, 3.058, 3.359, 3.75,  4.346, 5.011, 5.974, 6.18,  6.788, 7.662, 9.453, 10.507, 13.927},
      Series::Mark::line,
      true};
  for (size_t i = 0; i < first.x.size(); ++i) {
    first.hover.push_back(fmt::format("layer {}: {:.1f}\ntoken 0 \"Summer\", dimension 507", i, first.y[i]));
  }
  return {
      "spikes-magnitude",
      "Largest activations of each layer",
      "The three largest |h| of the residual stream and its median, for each layer; prompt \"Summer is warm. Winter is "
      "cold.\" Shaded: plateaus of one spike, token 0, dimension 507.",
      {"layer (residual state)", false, {}, {}, {}},
      {"|h|", true, {}, {}, {}},
      {{3, 9, "plateau 1"}, {12, 28, "plateau 2"}},
      Lines{{first, second, third, median}, {}}};
}

/// Mean attention on the sink, block x head.
inline Figure sink_figure() {
  HeatMap map;
  map.x = counting(30);
  map.y = counting(9);
  for (size_t head = 0; head < 9; ++head) {
    for (size_t block = 0; block < 30; ++block) {
      const bool sink = block > 2 && block != 10 && block != 11;
      const double noise =
          0.5 + 0.5 * std::sin(13.7 * static_cast<double>(block) + 5.1 * static_cast<double>(head * head));
      map.z.push_back(sink ? 0.45 + 0.5 * noise : 0.02 + 0.25 * noise);
      map.hover.push_back(fmt::format("block {}, head {}\nattention on token 0: {:.3f}", block, head, map.z.back()));
    }
  }
  map.z_label = "attention on token 0";
  map.z_min = 0;
  map.z_max = 1;
  return {"sinks-heads",
          "Attention on the sink token",
          "Mean attention of queries t ≥ 1 on token 0, for each block and head. Brackets: blocks in which the spike is "
          "present.",
          {"block", false, {}, {}, {}},
          {"head", false, {}, {}, {}},
          {{3, 9, "plateau 1"}, {12, 28, "plateau 2"}},
          map};
}

/// |h| of one residual state with a few spikes at token 0.
inline Figure surface_figure(size_t tokens = 9, size_t dimensions = 576, double spike = 713) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(0, 1.3);
  Surface surface;
  surface.x = counting(dimensions);
  surface.y = counting(tokens);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t d = 0; d < dimensions; ++d) {
      double h = std::abs(normal(random));
      if (t == 0 && d == 507 * dimensions / 576) h = spike;
      if (t == 0 && d == 247 * dimensions / 576) h = 0.18 * spike;
      if (t == 0 && d == 260 * dimensions / 576) h = 0.17 * spike;
      if (t > 0 && d == 507 * dimensions / 576) h = 36 + static_cast<double>(3 * t);
      surface.z.push_back(h);
    }
  }
  surface.z_axis.label = "|h|";
  Figure figure{"spikes-surface",
                "Activations of residual state 3",
                "|h| of each token and dimension of the residual stream that enters block 3.",
                {"dimension", false, {}, {}, {}},
                {"token", false, {}, {}, {}},
                {},
                {}};
  for (size_t t = 0; t < tokens; ++t) figure.y.categories.push_back(sample_tokens()[t % sample_tokens().size()]);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t d = 0; d < dimensions; ++d) {
      surface.hover.push_back(fmt::format("token {} \"{}\"\ndimension {}\n|h| {:.2f}", t, figure.y.categories[t], d,
                                          surface.z[t * dimensions + d]));
    }
  }
  figure.content = surface;
  return figure;
}

inline Figure strip_figure() {
  TokenStrip strip;
  const std::string text =
      "Summer| is| warm|.| Winter| is| cold|.|\n|The| tower| is| |3|2|4| metres| tall|,| about| the| same|"
      " height| as| an| |8|1|-|storey| building|,| and| the| tallest| structure| in| the| city|.|\n";
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('|', begin), text.size());
    strip.tokens.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (size_t i = 0; i < strip.tokens.size(); ++i) {
    strip.values.push_back(i == 0 ? 0.71 : 0.12 * std::abs(std::sin(1.7 * static_cast<double>(i))));
  }
  strip.values[20] = 0.33;
  strip.values.back() = NAN;
  strip.value_label = "mean attention received, blocks 3 to 9";
  strip.marked = {0, 20};
  return {"sinks-tokens",
          "Where attention goes",
          "Mean attention that each token receives from later ones. Outlined: spike tokens.",
          {},
          {},
          {},
          strip};
}

/// Two axes: spike size and sink rate over the layers.
inline Figure two_axes_figure() {
  Figure figure = magnitude_figure();
  Lines lines = std::get<Lines>(figure.content);
  lines.series.resize(1);
  lines.series[0].mark = Series::Mark::line;
  Series rate{"share of heads with a sink", counting(31), {}, Series::Mark::line_and_points};
  rate.right_axis = true;
  for (size_t i = 0; i < 31; ++i)
    rate.y.push_back(i == 30 ? NAN : i < 3 || i == 10 || i == 11 ? 0.05 : 0.8 + 0.01 * std::sin(i));
  lines.series.push_back(rate);
  lines.right = {"share of heads above 0.3", false, 0.0, 1.0, {}};
  figure.id = "sinks-rate";
  figure.title = "Sinks come and go with the spike";
  figure.caption =
      "Largest |h| (left axis) and share of heads whose mean attention on token 0 exceeds 0.3 (right axis).";
  figure.content = lines;
  return figure;
}

/// Grouped bars over names.
inline Figure bars_figure() {
  Series mlp{"MLP", {0, 1, 2, 3, 4}, {163, 510, -111, -484, -58}, Series::Mark::bars};
  Series attention{"attention", {0, 1, 2, 3, 4}, {23, 4, -12, 8, 1}, Series::Mark::bars};
  return {"spikes-writers",
          "Which module writes the first plateau",
          "Change of h at token 0, dimension 507 by each block's MLP and attention.",
          {"", false, {}, {}, {"block 1", "block 2", "block 8", "block 9", "block 10"}},
          {"change of h", false, {}, {}, {}},
          {},
          Lines{{mlp, attention}, {}}};
}

/// Two of the above over one x axis.
inline Figure panels_figure() {
  Figure figure = magnitude_figure();
  const Figure second = two_axes_figure();
  figure.id = "at-a-glance";
  figure.title = "At a glance";
  figure.content = PanelStack{{{"1  Size", figure.y, std::get<Lines>(figure.content)},
                               {"2  Sinks <b>", second.y, std::get<Lines>(second.content)}}};
  return figure;
}

inline std::vector<Figure> sample_figures() {
  return {surface_figure(), magnitude_figure(), bars_figure(), sink_figure(), two_axes_figure(), strip_figure()};
}

/// Strings as an untrusted model might have them in its vocabulary.
inline std::vector<std::string> hostile_strings() {
  return {"`touch injected`",
          "'; system('touch injected') #",
          "\"; system(\"touch injected\")",
          "\\\"; !touch injected\n",
          "\n!touch injected\n",
          "$(touch injected)",
          "@x^y_{z}&{a}/b%s%d%n%%",
          "</script><script>document.title='broken'</script>",
          "<!--<script>",
          "<img src=x onerror=\"document.title='broken'\">",
          "\"><svg onload=alert(1)>",
          "' onmouseover='alert(1)",
          "&lt;b&gt;&amp;amp;",
          "<b>bold</b><a href=\"javascript:alert(1)\">x</a>",
          std::string("nul\0byte", 8),
          "\x1b[31mred\x07\x7f",
          "\xff\xfe\xc3(\xed\xa0\x80\xf5",
          "\u202Eright to left\u202C",
          "שלום עולם",
          "العربية",
          "日本語のトークン",
          "e\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301",
          "END",
          "\nEND\nsystem('touch injected')\n",
          "\\",
          "",
          " ",
          "\t",
          "\r\n",
          "=HYPERLINK(\"x\")",
          "a,b;c|d",
          "]]>",
          "\u2028\u2029",
          "%{x}%{customdata}",
          "$x^2$",
          std::string(5000, 'W')};
}

}  // namespace spikescope::testing
