#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/rope_bands/rope_bands.h"
#include "analyses/verdict.h"
#include "io/hdf5.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr const char* kMeans = "Means over heads and layers.";

/// The groups whose curves are shown: the plateaus, or, without any, all layers together; those with RoPE.
std::vector<LayerGroup> shown_groups(const Json& results) {
  std::vector<LayerGroup> groups = layer_groups(results);
  std::erase_if(groups, [](const LayerGroup& group) { return !group.plateau; });
  if (groups.empty()) groups.push_back({0, static_cast<int64_t>(results.at("layers").size()) - 1, false});
  std::erase_if(groups, [&](const LayerGroup& group) { return std::isnan(group_mean(results, group, "pairs")); });
  return groups;
}

/// An array [blocks, heads, n] of the .h5.
class BlockArray {
 public:
  BlockArray(const H5File& arrays, const std::string& name)
      : shape_(arrays.shape(name)), values_(arrays.read<float>(name)) {}
  int64_t size() const { return shape_[2]; }
  /// Mean at an index over the heads of a group's layers, of those that have it.
  double mean(const LayerGroup& group, int64_t index) const {
    Moments mean;
    for (int64_t row = group.first * shape_[1]; row < (group.last + 1) * shape_[1]; ++row) {
      const float value = values_.at(static_cast<size_t>(row * size() + index));
      if (!std::isnan(value)) mean.add(value);
    }
    return mean.mean();
  }

 private:
  std::vector<int64_t> shape_;
  std::vector<float> values_;
};

/// Shortest range, and first pair from which all are stable, of the group's layers with RoPE.
struct Common {
  int64_t dmax, first_stable = 0;
};
Common common(const Json& results, const LayerGroup& group) {
  Common common{results.at("dmax")};
  for (int64_t index = group.first; index <= group.last; ++index) {
    const Json& layer = results.at("layers").at(static_cast<size_t>(index));
    if (layer.at("dmax").is_null()) continue;
    common.dmax = std::min(common.dmax, layer.at("dmax").get<int64_t>());
    common.first_stable =
        std::max(common.first_stable, layer.at("pairs").get<int64_t>() - layer.at("stable_pairs").get<int64_t>());
  }
  return common;
}

Series curve(std::string name, const BlockArray& array, const LayerGroup& group, int64_t size) {
  Series series{std::move(name), {}, {}, Series::Mark::line, false, false, {}};
  for (int64_t i = 0; i < size; ++i) {
    series.x.push_back(static_cast<double>(i));
    series.y.push_back(array.mean(group, i));
  }
  return series;
}

Figure energy_figure(const Json& results, const H5File& arrays) {
  const BlockArray of_template(arrays, "/energy_template"), of_semantic(arrays, "/energy_semantic");
  const std::vector<LayerGroup> groups = shown_groups(results);
  Figure figure;
  figure.id = "rope-bands-energy";
  figure.title = "Energy of keys by RoPE pair";
  Lines lines;
  std::vector<std::string> seen;
  int64_t first_stable = 0;
  for (const LayerGroup& group : groups) {
    const std::string layers = layer_range(group.first, group.last);
    lines.series.push_back(curve("template, " + layers, of_template, group, of_template.size()));
    lines.series.push_back(curve("ordinary tokens, " + layers, of_semantic, group, of_semantic.size()));
    lines.series.back().dashed = true;
    first_stable = std::max(first_stable, common(results, group).first_stable);
    seen.push_back(fmt::format("{} of the template's key and {} of ordinary keys in {}",
                               percent(group_mean(results, group, "stable_energy_template")),
                               percent(group_mean(results, group, "stable_energy_semantic")), layers));
  }
  if (first_stable < of_template.size())
    figure.bands.push_back(
        {static_cast<double>(first_stable) - 0.5, static_cast<double>(of_template.size()) - 0.5, "stable"});
  figure.caption = fmt::format(
      "Share of the energy of keys that each pair of channels has, fast pairs left. Shaded: pairs that turn by at most "
      "45 degrees over {} tokens (or the window of a layer) in all of these layers. Stable pairs hold {}. {} {}.",
      results.at("dmax").get<int64_t>(), join_words(seen), kMeans, data_label(results));
  figure.x.label = "pair";
  figure.y.label = "share of the energy";
  figure.y.log = true;
  figure.content = std::move(lines);
  return figure;
}

Figure logit_figure(const Json& results, const H5File& arrays, const LayerGroup& group, size_t number_of_group) {
  const int64_t dmax = common(results, group).dmax;
  Figure figure;
  figure.id = fmt::format("rope-bands-logit-{}", number_of_group);
  figure.title = fmt::format("Sink logit against distance, {}", layer_range(group.first, group.last));
  Lines lines;
  for (const auto& [name, key] : {std::pair("template", "template"), {"mean ordinary key", "semantic"}}) {
    Series with = curve(name, BlockArray(arrays, fmt::format("/logit_{}", key)), group, dmax + 1), without = with;
    without.name += ", without RoPE";
    without.dashed = true;
    std::fill(without.y.begin(), without.y.end(),
              group_mean(results, group, fmt::format("logit_{}_unturned", key).c_str()));
    lines.series.push_back(std::move(with));
    lines.series.push_back(std::move(without));
  }
  figure.caption = fmt::format(
      "Logit of the mean query of ordinary tokens with the template's key and with the mean ordinary key, by their "
      "distance. Over distance the logit of a head has a standard deviation of {} with the template and {} with the "
      "mean ordinary key. {} {}.",
      group_text(results, group, "sigma_template"), group_text(results, group, "sigma_semantic"),
      kMeans, data_label(results));
  figure.x.label = "distance in tokens";
  figure.y.label = "logit";
  figure.content = std::move(lines);
  return figure;
}

/// "0.74 in layers 3 to 9 and 0.80 in layers 12 to 28".
std::string by_group(const Json& results, const char* key) {
  std::vector<std::string> words;
  for (const LayerGroup& group : shown_groups(results))
    words.push_back(
        fmt::format("{} in {}", group_text(results, group, key), layer_range(group.first, group.last)));
  return join_words(words);
}

Figure zone_figure(const Json& results) {
  Figure figure;
  figure.id = "rope-bands-zone";
  figure.title = "The zone of rotational stability";
  figure.caption = fmt::format(
      "Share of the amplitude in pairs that stay within 45 degrees of being in phase at all distances, of the "
      "template's "
      "key and of the mean ordinary key, and these pairs' share of all; means over heads. Template: {}; ordinary: {}. "
      "{}.",
      by_group(results, "zone_share"), by_group(results, "zone_share_semantic"), data_label(results));
  figure.x.label = "layer";
  figure.y.label = "share";
  figure.bands = plateau_bands(results);
  figure.content = Lines{{layer_series(results, "template", "zone_share"),
                          layer_series(results, "mean ordinary key", "zone_share_semantic"),
                          layer_series(results, "share of the pairs", "zone_pairs", true)},
                         {}};
  return figure;
}

Figure sigma_figure(const Json& results) {
  Figure figure;
  figure.id = "rope-bands-sigma";
  figure.title = "How much the sink logit depends on distance";
  figure.caption = fmt::format(
      "Standard deviation of the logit over distances of 0 to {} tokens (or the window of a layer); without RoPE it is "
      "0. Dashed: the template's if its key were as long as the mean ordinary one. Means over heads. {} {}.",
      results.at("dmax").get<int64_t>(), verdict_text(results.at("verdict")), data_label(results));
  figure.x.label = "layer";
  figure.y.label = "standard deviation of the logit";
  figure.y.log = true;
  figure.bands = plateau_bands(results);
  figure.content = Lines{{layer_series(results, "template", "sigma_template"),
                          layer_series(results, "mean ordinary key", "sigma_semantic"),
                          layer_series(results, "template at equal length", "sigma_equal_length", true)},
                         {}};
  return figure;
}

Table groups_table(const Json& results) {
  Table table{
      "rope-bands-table",
      "RoPE bands by plateau",
      "",
      {"layers", "spikes", "pairs", "stable", "stable energy of k*", "of k", "coherence, stable", "coherence, others",
       "zone: amplitude", "pairs", "logit", "logit at 0", "mean logit", "sigma of k*", "of the mean k"},
      {}};
  table.caption = fmt::format(
      "Means over layers and heads, distances 0 to {}, ± the mean standard error over windows (jackknife). Stable energy: share of a key's energy in stable pairs; zone: "
      "share of the amplitude, of the pairs and (median head) of the mean logit in the zone of rotational "
      "stability. {}.",
      results.at("dmax").get<int64_t>(), data_label(results));
  for (const LayerGroup& group : layer_groups(results)) {
    std::vector<std::string> row = {
        group.first == group.last ? fmt::format("{}", group.first) : fmt::format("{} to {}", group.first, group.last),
        group.plateau ? "yes" : "no"};
    for (const char* key : {"pairs", "stable_pairs", "stable_energy_template", "stable_energy_semantic",
                            "coherence_stable", "coherence_unstable", "zone_share", "zone_pairs", "zone_logit_share",
                            "logit_template", "logit_template_mean", "sigma_template", "sigma_semantic"})
      row.push_back(group_text(results, group, key));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

Section rope_bands_section(const Json& results, const H5File& arrays, const DumpReader&) {
  Section section;
  section.summary = verdict_text(results.at("verdict"));
  section.figures.push_back(energy_figure(results, arrays));
  size_t index = 0;
  for (const LayerGroup& group : shown_groups(results))
    section.figures.push_back(logit_figure(results, arrays, group, ++index));
  section.figures.push_back(zone_figure(results));
  section.figures.push_back(sigma_figure(results));
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
