#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analyses/labels.h"
#include "analyses/residual_scan.h"
#include "analyses/spikes/spikes.h"
#include "analyses/spikes/words.h"

namespace spikescope {
namespace {

constexpr int64_t kSurfaceTokens = 24;
constexpr size_t kSurfaceDims = 1024;  // wider states are shown by the largest entry of neighbouring dimensions

std::vector<Band> plateau_bands(const Json& results) {
  std::vector<Band> bands;
  for (const Json& plateau : results.at("plateaus")) {
    const int64_t first = plateau.at("first"), last = plateau.at("last");
    bands.push_back({first - 0.25, last + 0.25, layer_range(first, last)});
  }
  return bands;
}

// --- |h| over token x dimension ----------------------------------------------------------------

struct Chosen {
  int64_t layer;
  const char* id;
  const char* what;
};

/// One state before the first plateau's spikes, and the middles of the first and the last plateau.
std::vector<Chosen> chosen_layers(const Json& results) {
  const Json& plateaus = results.at("plateaus");
  const int64_t states = static_cast<int64_t>(results.at("layers").size());
  if (plateaus.empty()) return {{states / 2, "spikes-surface-middle", "half-way through the model"}};
  const auto middle = [](const Json& plateau) {
    return (plateau.at("first").get<int64_t>() + plateau.at("last").get<int64_t>()) / 2;
  };
  int64_t birth = plateaus.front().at("first");
  for (const Json& spike : results.at("spikes")) birth = std::min(birth, spike.at("birth").get<int64_t>());
  std::vector<Chosen> chosen;
  if (birth > 0) chosen.push_back({birth - 1, "spikes-surface-before", "before the first spike"});
  chosen.push_back({middle(plateaus.front()), "spikes-surface-first", "on the first plateau"});
  if (plateaus.size() > 1) chosen.push_back({middle(plateaus.back()), "spikes-surface-last", "on the last plateau"});
  return chosen;
}

/// What the surfaces show: the first prompt with a spike, and the range of its tokens around that spike.
struct Excerpt {
  int64_t prompt = 0, first = 0, count = 0;
};
Excerpt choose_excerpt(const Json& results, const DumpTokens& tokens) {
  Excerpt excerpt;
  if (!results.at("spikes").empty()) {
    const Json& spike = results.at("spikes").front();
    excerpt.prompt = spike.at("prompt");
    const int64_t token = spike.at("token");
    token_row(tokens, excerpt.prompt, token);  // checks them
    const int64_t length = tokens.length(excerpt.prompt);
    if (token >= kSurfaceTokens)
      excerpt.first = std::min(token - kSurfaceTokens / 2, std::max<int64_t>(0, length - kSurfaceTokens));
  }
  // A prompt that is only a little longer is shown whole.
  const int64_t length = tokens.length(excerpt.prompt);
  excerpt.count =
      length <= kSurfaceTokens + kSurfaceTokens / 3 ? length : std::min(kSurfaceTokens, length - excerpt.first);
  if (excerpt.count == length) excerpt.first = 0;
  return excerpt;
}

Figure surface_figure(const Json& results, const DumpReader& dump, const Chosen& chosen, const Excerpt& excerpt) {
  const auto d = static_cast<size_t>(dump.d_model());
  const size_t columns = std::min(d, kSurfaceDims);
  const std::vector<float> state = dump.residual(chosen.layer, excerpt.prompt);
  Figure figure;
  figure.id = chosen.id;
  figure.title = fmt::format("|h| in layer {}, {}", chosen.layer, chosen.what);
  figure.caption = fmt::format(
      "Magnitude of the residual stream (dimensionless) {}, over dimension and token; {}, tokens {} to {} of prompt "
      "{}.{}",
      chosen.layer == dump.n_layers() ? fmt::format("leaving block {}", chosen.layer - 1)
                                      : fmt::format("entering block {}", chosen.layer),
      results.at("model").get<std::string>(), excerpt.first, excerpt.first + excerpt.count - 1, excerpt.prompt,
      columns == d
          ? ""
          : fmt::format(" Each column is the largest of {} neighbouring dimensions.", (d + columns - 1) / columns));
  figure.x.label = "dimension";
  figure.y.label = "token";
  Surface surface;
  surface.z_axis.label = "|h|";
  for (int64_t i = 0; i < excerpt.count; ++i) {
    const int64_t token = excerpt.first + i;
    surface.y.push_back(static_cast<double>(i));
    figure.y.categories.push_back(token_label(dump.tokens(), excerpt.prompt, token));
    const float* row = state.data() + static_cast<size_t>(token) * d;
    for (size_t column = 0; column < columns; ++column) {
      const size_t begin = column * d / columns, end = (column + 1) * d / columns;
      size_t best = begin;
      for (size_t dim = begin + 1; dim < end; ++dim) {
        if (std::abs(row[dim]) > std::abs(row[best])) best = dim;
      }
      if (i == 0) surface.x.push_back(static_cast<double>(begin));
      surface.z.push_back(std::abs(row[best]));
      surface.hover.push_back(
          fmt::format("token {}\ndimension {}: {}", figure.y.categories.back(), best, number(row[best])));
    }
  }
  figure.content = std::move(surface);
  return figure;
}

// --- Largest values and median a layer ---------------------------------------------------------

Figure magnitude_figure(const Json& results, const DumpReader& dump) {
  constexpr size_t kShown = 3;
  const char* const names[kShown] = {"largest |h|", "second", "third"};
  Lines lines;
  for (size_t k = 0; k < kShown; ++k) {
    lines.series.push_back(
        {names[k], {}, {}, k == 0 ? Series::Mark::line_and_points : Series::Mark::line, false, false, {}});
  }
  Series median{"median |h|", {}, {}, Series::Mark::line, false, false, {}};
  Series threshold{"published threshold", {}, {}, Series::Mark::line, true, false, {}};
  const auto positive = [](double value) { return value > 0 ? value : std::numeric_limits<double>::quiet_NaN(); };
  for (const Json& layer : results.at("layers")) {
    const double l = layer.at("layer").get<double>(), middle = number_or_nan(layer.at("median"));
    const Json& top = layer.at("top");
    for (size_t k = 0; k < kShown && k < top.size(); ++k) {
      const double value = top[k].at("value");
      lines.series[k].x.push_back(l);
      lines.series[k].y.push_back(positive(std::abs(value)));
      lines.series[k].hover.push_back(fmt::format(
          "layer {}: {}\nprompt {}, token {}\ndimension {}", layer.at("layer").get<int64_t>(), number(value),
          top[k].at("prompt").get<int64_t>(), token_label(dump.tokens(), top[k].at("prompt"), top[k].at("token")),
          top[k].at("dim").get<int64_t>()));
    }
    median.x.push_back(l);
    median.y.push_back(positive(middle));
    threshold.x.push_back(l);
    threshold.y.push_back(std::max<double>(kPublishedMagnitude, kPublishedRatio * middle));
  }
  lines.series.push_back(std::move(median));
  lines.series.push_back(std::move(threshold));

  Figure figure;
  figure.id = "spikes-magnitude";
  figure.title = "Largest values and median by layer";
  figure.caption = fmt::format(
      "The three largest |h| of each residual state (layer l enters block l), their median, and the published "
      "threshold max(100, 1,000 x median), all dimensionless; plateaus shaded. {}.",
      data_label(results));
  figure.x.label = "layer";
  figure.y.label = "|h|";
  figure.y.log = true;
  figure.bands = plateau_bands(results);
  figure.content = std::move(lines);
  return figure;
}

// --- What writes the spikes ---------------------------------------------------------------------

Figure writers_figure(const Json& results) {
  Series mlp{"MLP", {}, {}, Series::Mark::bars, false, false, {}},
      attention{"attention", {}, {}, Series::Mark::bars, false, false, {}};
  Figure figure;
  bool any_dims = false;
  for (const Json& writer : results.at("writers")) {
    const Json& plateau = results.at("plateaus").at(writer.at("plateau").get<size_t>());
    const Json& dims = plateau.at("dims");
    const double x = static_cast<double>(figure.x.categories.size());
    const int64_t block = writer.at("block"), dim = writer.at("dim");
    const auto place = static_cast<size_t>(std::find(dims.begin(), dims.end(), dim) - dims.begin());
    const double level = plateau.at("values").at(place);
    any_dims |= dims.size() > 1;
    figure.x.categories.push_back(dims.size() > 1 ? fmt::format("{}:{}", block, dim) : fmt::format("{}", block));
    for (const auto& [series, key] : {std::pair(&mlp, "mlp"), std::pair(&attention, "attention")}) {
      const double change = writer.at(key);
      series->x.push_back(x);
      series->y.push_back(change / level);
      series->errors.push_back(standard_error(writer, key) / std::abs(level));
      series->hover.push_back(
          fmt::format("block {}, {}\ndimension {}: {}", block, series->name, dim, number_with_error(writer, key)));
    }
  }
  figure.id = "spikes-writers";
  figure.title = "What writes and cancels the spikes";
  figure.caption = fmt::format(
      "Change of the spike's value by MLP and attention of each block that changes it by at least 5 %, as a share of "
      "the value on the plateau that it builds up (above 0) or takes away from (below 0). {}.",
      data_label(results));
  figure.x.label = any_dims ? "block:dimension" : "block";
  figure.y.label = "change / plateau value";
  figure.content = Lines{{std::move(mlp), std::move(attention)}, {}};
  return figure;
}

}  // namespace

Section spikes_section(const Json& results, const H5File&, const DumpReader& dump) {
  Section section;
  section.summary = spikes_summary(results);
  if (dump.tokens().size() > 0) {
    const Excerpt excerpt = choose_excerpt(results, dump.tokens());
    for (const Chosen& chosen : chosen_layers(results))
      section.figures.push_back(surface_figure(results, dump, chosen, excerpt));
  }
  section.figures.push_back(magnitude_figure(results, dump));
  if (!results.at("writers").empty()) section.figures.push_back(writers_figure(results));
  if (!results.at("spikes").empty()) section.tables.push_back(spikes_table(results));
  if (!results.at("writers").empty()) section.tables.push_back(writers_table(results));
  if (dump.tokens().size() > 0) section.tables.push_back(largest_table(results, dump.tokens()));
  return section;
}

}  // namespace spikescope
