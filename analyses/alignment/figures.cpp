#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "analyses/alignment/alignment.h"
#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/verdict.h"

namespace spikescope {
namespace {

std::string template_text(const Json& results) {
  return fmt::format(
      "x*: mean of what attention reads ({}) at spike tokens, outside plateaus (shaded) at the latest spike tokens or "
      "else "
      "the first tokens; x: the same at ordinary tokens.",
      results.at("input").get<std::string>());
}

std::string logits_note(const Json& results) {
  return results.at("logits_note").is_string() ? " Here " + results.at("logits_note").get<std::string>() + "." : "";
}

Figure layer_figure(const Json& results, const char* id, const char* title, const char* label, std::string caption,
                    Lines lines) {
  Figure figure;
  figure.id = id;
  figure.title = title;
  figure.caption = fmt::format("{} {} {}.", caption, template_text(results), data_label(results));
  figure.x.label = "layer";
  figure.y.label = label;
  figure.bands = plateau_bands(results);
  figure.content = std::move(lines);
  return figure;
}

Figure keys_figure(const Json& results) {
  return layer_figure(
      results, "alignment-keys", "Queries and the template's key", "mean cosine",
      fmt::format(
          "Cosine of ordinary tokens' queries with the template's key k* and with each other's keys k, and of their "
          "inputs with the template before the projections; means over heads. {}{}",
          verdict_text(results.at("verdict")), logits_note(results)),
      {{layer_series(results, "cos(q, k*)", "cos_template"), layer_series(results, "cos(q, k)", "cos_other"),
        layer_series(results, "cos(x, x*)", "cos_input", true)},
       {}});
}

Figure logits_figure(const Json& results) {
  Lines lines{
      {layer_series(results, "z of the template's key", "z"), layer_series(results, "logit gap", "logit_gap", true)},
      {}};
  return layer_figure(
      results, "alignment-logits", "How far the template's key stands out", "standard deviations, logit",
      fmt::format(
          "z: product of the mean query direction with k*, in standard deviations over ordinary keys; logit gap: "
          "mean scaled q.k* minus mean scaled q.k. Means over heads.{}",
          logits_note(results)),
      std::move(lines));
}

Figure heads_figure(const Json& results) {
  Figure figure;
  figure.id = "alignment-heads";
  figure.title = "Logit gap by head";
  figure.caption = fmt::format(
      "Mean scaled logit of ordinary queries with the template's key minus that with ordinary keys, by layer and "
      "head.{} "
      "{}.",
      logits_note(results), data_label(results));
  figure.x.label = "head";
  figure.y.label = "layer";
  HeatMap map;
  map.z_label = "logit gap";
  const Json& layers = results.at("layers");
  for (size_t head = 0; head < layers.at(0).at("heads").size(); ++head) map.x.push_back(static_cast<double>(head));
  for (const Json& layer : layers) {
    map.y.push_back(layer.at("layer").get<double>());
    for (size_t head = 0; head < map.x.size(); ++head) {
      map.z.push_back(number_or_nan(layer.at("heads").at(head).at("logit_gap")));
      map.hover.push_back(
          fmt::format("layer {}, head {}: {}", layer.at("layer").get<int64_t>(), head,
                      number_with_error(layer.at("heads").at(head), "logit_gap")));
    }
  }
  figure.content = std::move(map);
  return figure;
}

Figure values_figure(const Json& results) {
  Lines lines{{layer_series(results, "value drain", "drain")}, {}};
  std::string caption = "Length of the template's value over that of ordinary values (drain); means over KV heads.";
  if (results.at("gains_note").is_null()) {
    caption =
        "Length of the template's value over that of ordinary values (drain), the same of the inputs, and the gain "
        "||W_V x|| / ||x|| of template and ordinary tokens over that of random vectors; means over KV heads.";
    lines.series.push_back(layer_series(results, "||x*|| / ||x||", "drain_norm_factor", true));
    lines.series.push_back(layer_series(results, "gain of x* over random", "v_gain_template"));
    lines.series.push_back(layer_series(results, "gain of x over random", "v_gain_semantic"));
  }
  Figure figure = layer_figure(results, "alignment-values", "The template's value", "ratio",
                               fmt::format("{} {}", caption, verdict_text(results.at("value_verdict"))),
                               std::move(lines));
  figure.y.log = true;
  return figure;
}

Table groups_table(const Json& results) {
  Table table{
      "alignment-table",
      "Queries, keys and values by plateau",
      "",
      {"layers", "spikes", "cos(q, k*)", "cos(q, k)", "cos > 0", "cos(x, x*)", "logit gap", "z", "||k*|| / ||k||",
       "contrast", "V gain of x*", "V gain of x", "value drain", "share of the spike dimension"},
      {}};
  table.caption = fmt::format(
      "Means over layers and heads, ± the mean standard error over windows with the template as it is. V gains are over that of random vectors. Contrast: key gain of x* over that of x, "
      "both "
      "from the mean of x. Last: share of the mean q.k* that comes from the spike dimension of x* alone.{} {} {}.",
      results.at("gains_note").is_string() ? " Here " + results.at("gains_note").get<std::string>() + "." : "",
      template_text(results), data_label(results));
  for (const LayerGroup& group : layer_groups(results)) {
    std::vector<std::string> row = {
        group.first == group.last ? fmt::format("{}", group.first) : fmt::format("{} to {}", group.first, group.last),
        group.plateau ? "yes" : "no"};
    for (const char* key : {"cos_template", "cos_other", "positive", "cos_input", "logit_gap", "z", "key_norm_ratio",
                            "contrast", "v_gain_template", "v_gain_semantic", "drain", "spike_dim_share"})
      row.push_back(group_text(results, group, key));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

Section alignment_section(const Json& results, const H5File&, const DumpReader&) {
  Section section;
  section.summary = verdict_text(results.at("verdict")) + " " + verdict_text(results.at("value_verdict"));
  const Json& layers = results.at("layers");
  const bool any =
      std::any_of(layers.begin(), layers.end(), [](const Json& layer) { return layer.at("drain").is_number(); });
  if (!any) {
    section.summary += " No window has ordinary tokens (positions 8 and later) to compare with.";
    return section;
  }
  section.figures = {keys_figure(results), logits_figure(results), heads_figure(results), values_figure(results)};
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
