#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "analyses/convergence/convergence.h"
#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/verdict.h"

namespace spikescope {
namespace {

/// A number of one group of tokens ("spike", "ordinary", ...) in a row of `layers`; NaN where there is none.
double number_of(const Json& layer, const char* tokens, const char* key) {
  const Json& group = layer.at(tokens);
  return group.is_null() ? std::numeric_limits<double>::quiet_NaN() : number_or_nan(group.at(key));
}

std::string constancy_note(const Json& results) {
  const int64_t prefix = results.at("constant_prefix");
  if (prefix == 0) return "";
  return fmt::format(
      " All inputs begin with the same {}, which see nothing else: as spike tokens they are constant by construction, "
      "and only the others ({}) test the claim.",
      prefix == 1 ? "token" : fmt::format("{} tokens", prefix), "'varying spike tokens'");
}

/// How random first tokens fare on the plateaus.
std::string random_note(const Json& results) {
  std::vector<std::string> found;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau || results.at("random_first") == 0) continue;
    const auto mean = [&](const char* key) {
      return group_mean(results, group, [key](const Json& layer) { return number_of(layer, "random_first", key); });
    };
    found.push_back(fmt::format("cosine {:.4f} and deviation {} in {}", mean("cosine"), number(mean("deviation")),
                                layer_range(group.first, group.last)));
  }
  if (found.empty()) return "";
  return fmt::format(" Of {} random first tokens: {}.", results.at("random_first").get<int64_t>(), join_words(found));
}

std::string summary(const Json& results) {
  return verdict_text(results.at("verdict")) + constancy_note(results) + random_note(results);
}

/// Curves over the layers of one measure.
Lines curves(const Json& results, const char* key) {
  struct Curve {
    const char *name, *tokens;
    Series::Mark mark;
    bool dashed;
  };
  Lines lines;
  for (const Curve& curve : {Curve{"spike tokens", "spike", Series::Mark::line_and_points, false},
                             Curve{"varying spike tokens", "varying", Series::Mark::line_and_points, false},
                             Curve{"random first tokens", "random_first", Series::Mark::line_and_points, true},
                             Curve{"latest or first tokens, no spikes", "latest", Series::Mark::line_and_points, true},
                             Curve{"ordinary tokens", "ordinary", Series::Mark::line, false}}) {
    Series series{curve.name, {}, {}, curve.mark, curve.dashed, false, {}};
    for (const Json& layer : results.at("layers")) {
      const double value = number_of(layer, curve.tokens, key),
                   error = number_of(layer, curve.tokens, (std::string(key) + "_se").c_str());
      series.x.push_back(layer.at("layer").get<double>());
      series.y.push_back(value);
      series.errors.push_back(error);
      series.hover.push_back(
          fmt::format("layer {}, {}: {}", layer.at("layer").get<int64_t>(), curve.name, number(value, error)));
    }
    if (std::any_of(series.y.begin(), series.y.end(), [](double y) { return !std::isnan(y); }))
      lines.series.push_back(std::move(series));
  }
  return lines;
}

Figure cosine_figure(const Json& results) {
  Figure figure;
  figure.id = "convergence-cosine";
  figure.title = "Cosine between tokens after the norm";
  figure.caption = fmt::format(
      "Mean cosine between the vectors that attention of each block reads ({}): of all pairs of spike tokens of all "
      "windows, and of ordinary tokens ({} of a window at most, t >= {}); 1 is one and the same vector. Plateaus "
      "shaded. "
      "{} {}.",
      results.at("input").get<std::string>(), results.at("ordinary_per_window").get<int64_t>(),
      results.at("ordinary_from").get<int64_t>(), verdict_text(results.at("verdict")), data_label(results));
  figure.x.label = "layer";
  figure.y.label = "mean cosine";
  figure.y.max = 1.0;
  figure.bands = plateau_bands(results);
  figure.content = curves(results, "cosine");
  return figure;
}

Figure deviation_figure(const Json& results) {
  Figure figure;
  figure.id = "convergence-deviation";
  figure.title = "Deviation from the mean vector after the norm";
  figure.caption = fmt::format(
      "Root of the mean squared distance of these vectors from their mean, over the mean's length (0: all the same). "
      "Plateaus shaded. {}.",
      data_label(results));
  figure.x.label = "layer";
  figure.y.label = "deviation";
  figure.y.log = true;
  figure.bands = plateau_bands(results);
  figure.content = curves(results, "deviation");
  return figure;
}

Figure across_figure(const Json& results) {
  Figure figure;
  figure.id = "convergence-layers";
  figure.title = "Templates across layers";
  figure.caption = fmt::format(
      "Cosine between the mean vectors of the spike tokens (templates) of each two layers, after the norm; blank where "
      "a layer has no spike tokens. {}.",
      data_label(results));
  figure.x.label = figure.y.label = "layer";
  HeatMap map;
  map.z_label = "cosine";
  map.z_max = 1.0;
  const Json &matrix = results.at("across_layers"), &errors = results.at("across_layers_se");
  for (size_t row = 0; row < matrix.size(); ++row) {
    map.x.push_back(static_cast<double>(row));
    map.y.push_back(static_cast<double>(row));
    for (size_t column = 0; column < matrix.size(); ++column) {
      map.z.push_back(number_or_nan(matrix.at(row).at(column)));
      map.hover.push_back(fmt::format("layers {} and {}: {}", row, column, number(map.z.back(), number_or_nan(errors.at(row).at(column)))));
    }
  }
  figure.content = std::move(map);
  return figure;
}

/// "0.991 ± 0.002", the mean over a group's layers with the mean of the standard errors.
std::string mean_text(const Json& results, const LayerGroup& group, const char* tokens, const char* key) {
  const auto mean = [&](const std::string& name) {
    return group_mean(results, group, [&](const Json& layer) { return number_of(layer, tokens, name.c_str()); });
  };
  const double value = mean(key), error = mean(std::string(key) + "_se");
  return number(value, error);
}

Table groups_table(const Json& results) {
  Table table{"convergence-table",
              "Spike tokens and ordinary tokens after the norm",
              "",
              {"layers", "spikes", "spike tokens", "cosine", "deviation", "CV of the value", "cosine inside the text",
               "cosine after norm 2", "ordinary: cosine", "ordinary: deviation"},
              {}};
  table.caption = fmt::format(
      "Means over the layers of each range, with the mean standard error over windows (jackknife). Without spikes: of "
      "the latest spike tokens, or else the first ones. CV: of the spike dimension's value in the residual stream. "
      "Inside "
      "the text: spike tokens that are no first tokens. {}.",
      data_label(results));
  for (const LayerGroup& group : layer_groups(results)) {
    const char* tokens = group.plateau ? "spike" : "latest";
    const double mlp = group_mean(results, group, [&](const Json& layer) {
      return layer.at("mlp").is_null() ? std::numeric_limits<double>::quiet_NaN()
                                       : number_of(layer.at("mlp"), "spike", "cosine");
    });
    table.rows.push_back(
        {group.first == group.last ? fmt::format("{}", group.first) : fmt::format("{} to {}", group.first, group.last),
         group.plateau ? "yes" : "no",
         number(std::round(
             group_mean(results, group, [&](const Json& layer) { return number_of(layer, tokens, "count"); }))),
         mean_text(results, group, tokens, "cosine"), mean_text(results, group, tokens, "deviation"),
         mean_text(results, group, tokens, "cv"),
         number(group_mean(results, group, [](const Json& layer) { return number_of(layer, "inside", "cosine"); })),
         number(mlp), mean_text(results, group, "ordinary", "cosine"),
         mean_text(results, group, "ordinary", "deviation")});
  }
  return table;
}

}  // namespace

Section convergence_section(const Json& results, const H5File&, const DumpReader&) {
  Section section;
  section.summary = summary(results);
  const auto has_curves = [](const Figure& figure) { return !std::get<Lines>(figure.content).series.empty(); };
  for (Figure figure : {cosine_figure(results), deviation_figure(results)})
    if (has_curves(figure)) section.figures.push_back(std::move(figure));
  const bool any_template =
      std::any_of(results.at("layers").begin(), results.at("layers").end(),
                  [](const Json& layer) { return layer.at("spike").at("count").get<int64_t>() > 0; });
  if (any_template) section.figures.push_back(across_figure(results));
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
