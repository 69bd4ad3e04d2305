#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/sinks/block_sinks.h"
#include "analyses/sinks/maps.h"
#include "analyses/sinks/sinks.h"
#include "base/fail.h"
#include "io/hdf5.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr int64_t kStripTokens = 200;
constexpr size_t kMostStrips = 3;

std::string blocks_text(const LayerGroup& group) {
  return group.first == group.last ? fmt::format("block {}", group.first)
                                   : fmt::format("blocks {} to {}", group.first, group.last);
}

std::string summary(const Json& results) {
  size_t heads = 0;
  for (const Json& layer : results.at("layers")) heads += layer.at("heads").size();
  if (results.at("mean_alpha").is_null()) return "No prompt has two tokens: attention sinks need at least two.";
  std::string text = fmt::format(
      "{} of the {} heads are sinks: they put more than 0.3 of their attention on the first token, where the mean over "
      "all heads is {}.",
      percent(results.at("sink_rate"), standard_error(results, "sink_rate")), heads,
      number_with_error(results, "mean_alpha"));
  const std::vector<LayerGroup> groups = layer_groups(results);
  std::vector<std::string> with, without;
  for (const LayerGroup& group : groups) {
    const double mass = group_mean(results, group, group.plateau ? "mass" : "latest_mass");
    if (!std::isnan(mass)) {
      (group.plateau ? with : without)
          .push_back(fmt::format("{} ({})", group_text(results, group, group.plateau ? "mass" : "latest_mass"),
                                 blocks_text(group)));
    }
  }
  if (with.empty()) return text + " No spikes stand beside them.";
  text += fmt::format(" On the plateaus the spike tokens get {} of the attention", join_words(with));
  text += without.empty() ? "."
                          : fmt::format("; outside, the latest spike tokens, or else the first token, get {}.",
                                        join_words(without));
  if (results.at("spike_mass_correlation").is_number()) {
    text += fmt::format(" Over the blocks, spikes and attention go together with a correlation of {:.2f}.",
                        results.at("spike_mass_correlation").get<double>());
  }
  const auto last = std::find_if(groups.rbegin(), groups.rend(), [](const LayerGroup& group) { return group.plateau; });
  const double ratio = group_mean(results, *last, "bias_ratio"), cosine = group_mean(results, *last, "bias_cosine");
  if (!std::isnan(ratio) && !std::isnan(cosine)) {
    text += fmt::format(
        " In {} what comes from the spike tokens is {} of the attention output's length, with a cosine of {:.2f} to "
        "its mean over the queries.",
        blocks_text(*last), percent(ratio), cosine);
  }
  return text;
}

Table groups_table(const Json& results) {
  Table table{"sinks-table",
              "Sinks and spikes",
              "",
              {"blocks", "spikes", "sink rate", "attention on first token", "mass on spike tokens",
               "mass on latest spike tokens", "entropy", "|B| / |o|", "cosine of B"},
              {}};
  table.caption = fmt::format(
      "Means over the blocks of each range and the queries t >= {} (rate, first token and entropy: t >= 1), ± the mean "
      "standard error over windows. Mass: "
      "attention on all spike tokens of the state, or on the latest ones up to it; entropy: over log(t + 1); B: what "
      "the spike tokens add to the attention output o. {}.",
      results.at("mass_from_query").get<int64_t>(), data_label(results));
  if (results.at("bias_note").is_string())
    table.caption += " Note: " + results.at("bias_note").get<std::string>() + ".";
  for (const LayerGroup& group : layer_groups(results)) {
    table.rows.push_back(
        {group.first == group.last ? fmt::format("{}", group.first) : fmt::format("{} to {}", group.first, group.last),
         group.plateau ? "yes" : "no"});
    for (const char* key :
         {"sink_rate", "mean_alpha", "mass", "latest_mass", "entropy", "bias_ratio", "bias_cosine"})
      table.rows.back().push_back(group_text(results, group, key));
  }
  return table;
}

Figure alpha_figure(const Json& results) {
  Figure figure;
  figure.id = "sinks-heads";
  figure.title = "Attention on the first token";
  figure.caption = fmt::format(
      "Mean attention probability on the first token over queries t >= 1, by block and head. {}.", data_label(results));
  figure.x.label = "head";
  figure.y.label = "block";
  HeatMap map;
  map.z_label = "attention";
  map.z_min = 0.0;
  map.z_max = 1.0;
  const Json& layers = results.at("layers");
  for (size_t head = 0; head < layers.at(0).at("heads").size(); ++head) map.x.push_back(static_cast<double>(head));
  for (const Json& layer : layers) {
    map.y.push_back(layer.at("block").get<double>());
    for (size_t head = 0; head < map.x.size(); ++head) {
      map.z.push_back(number_or_nan(layer.at("heads").at(head).at("alpha")));
      map.hover.push_back(
          fmt::format("block {}, head {}: {}", layer.at("block").get<int64_t>(), head,
                      number_with_error(layer.at("heads").at(head), "alpha")));
    }
  }
  figure.content = std::move(map);
  return figure;
}

/// A key of `layers` as a curve over the blocks, with its errors.
Series block_series(const Json& results, const std::string& name, const std::string& key) {
  Series series{name, {}, {}, Series::Mark::line_and_points, false, false, {}, {}};
  for (const Json& layer : results.at("layers")) {
    series.x.push_back(layer.at("block").get<double>());
    series.y.push_back(number_or_nan(layer.at(key)));
    series.errors.push_back(standard_error(layer, key));
    series.hover.push_back(
        fmt::format("block {}\n{}: {}", layer.at("block").get<int64_t>(), name, number_with_error(layer, key)));
  }
  return series;
}

Figure rate_figure(const Json& results) {
  Lines lines;
  lines.series.push_back(block_series(results, "sink rate", "sink_rate"));
  lines.series.push_back(block_series(results, "mass on spike tokens", "mass"));
  lines.series.push_back(block_series(results, "mass on latest spike tokens", "latest_mass"));
  lines.series.back().mark = Series::Mark::line;
  const bool any_spike = std::any_of(results.at("layers").begin(), results.at("layers").end(),
                                     [](const Json& layer) { return layer.at("spike").is_number(); });
  if (any_spike) {
    Series spike = block_series(results, "largest spike", "spike");
    spike.right_axis = true;
    spike.dashed = true;
    lines.series.push_back(std::move(spike));
    lines.right.label = "largest spike |h|";
    lines.right.log = true;
  }
  Figure figure;
  figure.id = "sinks-spikes";
  figure.title = "Sinks against spikes";
  figure.caption = fmt::format(
      "By block: share of heads with more than 0.3 of their attention on the first token, and attention of queries t "
      ">= {} on the spike tokens (left); largest spike of the state that enters the block (right, dimensionless); "
      "plateaus shaded. {}.",
      results.at("mass_from_query").get<int64_t>(), data_label(results));
  figure.x.label = "block";
  figure.y.label = "share";
  figure.y.min = 0.0;
  figure.y.max = 1.0;
  figure.bands = plateau_bands(results);
  figure.content = std::move(lines);
  return figure;
}

Figure bias_figure(const Json& results) {
  Lines lines;
  const std::pair<const char*, const char*> curves[] = {
      {"entropy", "entropy"}, {"|B| / |o|", "bias_ratio"}, {"cosine of B with its mean", "bias_cosine"}};
  for (const auto& [name, key] : curves) {
    Series series = block_series(results, name, key);
    if (!std::all_of(series.y.begin(), series.y.end(), [](double y) { return std::isnan(y); }))
      lines.series.push_back(std::move(series));
  }
  Figure figure;
  figure.id = "sinks-bias";
  figure.title = "Entropy and implicit bias";
  figure.caption = fmt::format(
      "By block: entropy of attention over log(t + 1), mean over heads; length of what the spike tokens add to the "
      "attention output, over the output's length, and the cosine of that part with its mean over the queries (1: a "
      "constant bias; 0 for a query whose window has no spike token). Dimensionless. {}.",
      data_label(results));
  figure.x.label = "block";
  figure.y.label = "share, cosine";
  figure.bands = plateau_bands(results);
  figure.content = std::move(lines);
  return figure;
}

// --- Tokens coloured by the attention they get --------------------------------------------------

/// Spike tokens of one plateau by prompt, as run_sinks() left them.
std::map<int64_t, std::vector<int64_t>> plateau_members(const H5File& arrays, const DumpTokens& tokens,
                                                        size_t plateau) {
  std::map<int64_t, std::vector<int64_t>> members;
  if (!arrays.has("/plateau_tokens")) return members;
  const std::vector<int64_t> values = arrays.read<int64_t>("/plateau_tokens");
  for (size_t i = 0; i + 2 < values.size(); i += 3) {
    token_row(tokens, values[i + 1], values[i + 2]);  // checks them
    if (values[i] == static_cast<int64_t>(plateau)) members[values[i + 1]].push_back(values[i + 2]);
  }
  return members;
}

Figure strip_figure(const Json& results, const std::vector<float>& received, const DumpTokens& tokens,
                    const LayerGroup& group, int64_t prompt, const std::vector<int64_t>& marked,
                    const std::string& id) {
  const int64_t length = std::min(tokens.length(prompt), kStripTokens),
                begin = tokens.offsets[static_cast<size_t>(prompt)];
  TokenStrip strip;
  strip.value_label = "attention received";
  strip.log = true;
  for (int64_t token = 0; token < length; ++token) {
    Moments value;
    for (int64_t block = group.first; block <= group.last; ++block) {
      value.add(received[static_cast<size_t>(block * tokens.size() + begin + token)]);
    }
    strip.tokens.push_back(token_text(tokens, begin + token));
    strip.values.push_back(value.mean());
    strip.hover.push_back(fmt::format("token {}: {}", token_label(tokens, prompt, token), number(value.mean())));
  }
  for (int64_t token : marked) {
    if (token < length) strip.marked.push_back(static_cast<int>(token));
  }
  Figure figure;
  figure.id = id;
  figure.title = fmt::format("Attention received, {}", blocks_text(group));
  figure.caption = fmt::format(
      "Share of all attention (queries t >= 1, mean over heads and {}) that each token gets; {}. {}, prompt {}{}.",
      blocks_text(group), group.plateau ? "spike tokens outlined" : "there are no spikes",
      results.at("model").get<std::string>(), prompt,
      length < tokens.length(prompt) ? fmt::format(", its first {} of {} tokens", length, tokens.length(prompt)) : "");
  figure.content = std::move(strip);
  return figure;
}

std::vector<Figure> strip_figures(const Json& results, const H5File& arrays, const DumpReader& dump) {
  const std::vector<float> received = arrays.read<float>("/received");
  const int64_t blocks = static_cast<int64_t>(results.at("layers").size());
  if (static_cast<int64_t>(received.size()) != blocks * dump.tokens().size()) {
    fail(
        "{}: /received of the sinks' results holds {} values, expected {} blocks x {} tokens: run `spikescope analyze` "
        "again",
        (dump.out() / "results/sinks.h5").string(), received.size(), blocks, dump.tokens().size());
  }
  std::vector<Figure> figures;
  for (size_t k = 0; k < results.at("plateaus").size() && figures.size() < kMostStrips; ++k) {
    const Json& plateau = results.at("plateaus").at(k);
    const LayerGroup group{plateau.at("first"), std::min(plateau.at("last").get<int64_t>(), blocks - 1), true};
    if (group.first < 0 || group.first > group.last) continue;
    const auto by_prompt = plateau_members(arrays, dump.tokens(), k);
    const auto most = std::max_element(by_prompt.begin(), by_prompt.end(),
                                       [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    if (most == by_prompt.end()) continue;
    figures.push_back(strip_figure(results, received, dump.tokens(), group, most->first, most->second,
                                   fmt::format("sinks-tokens-{}", k + 1)));
  }
  if (figures.empty()) {
    figures.push_back(strip_figure(results, received, dump.tokens(), {0, blocks - 1, false}, 0, {}, "sinks-tokens-1"));
  }
  return figures;
}

}  // namespace

Section sinks_section(const Json& results, const H5File& arrays, const DumpReader& dump) {
  Section section;
  section.summary = summary(results);
  if (results.at("layers").empty() || results.at("mean_alpha").is_null()) return section;
  section.figures.push_back(alpha_figure(results));
  section.figures.push_back(rate_figure(results));
  for (Figure& figure : strip_figures(results, arrays, dump)) section.figures.push_back(std::move(figure));
  for (Figure& figure : map_figures(results, arrays, dump)) section.figures.push_back(std::move(figure));
  section.figures.push_back(bias_figure(results));
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
