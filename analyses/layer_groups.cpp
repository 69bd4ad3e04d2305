#include "analyses/layer_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analyses/labels.h"
#include "stats/moments.h"

namespace spikescope {

std::vector<LayerGroup> layer_groups(const Json& results) {
  const int64_t layers = static_cast<int64_t>(results.at("layers").size());
  std::vector<LayerGroup> groups;
  int64_t next = 0;
  for (const Json& plateau : results.at("plateaus")) {
    const int64_t first = plateau.at("first"), last = std::min(plateau.at("last").get<int64_t>(), layers - 1);
    if (first > last) continue;
    if (first > next) groups.push_back({next, first - 1, false});
    groups.push_back({first, last, true});
    next = last + 1;
  }
  if (next < layers) groups.push_back({next, layers - 1, false});
  return groups;
}

std::vector<Band> plateau_bands(const Json& results) {
  std::vector<Band> bands;
  for (const LayerGroup& group : layer_groups(results)) {
    if (group.plateau) bands.push_back({group.first - 0.25, group.last + 0.25, "spikes"});
  }
  return bands;
}

double group_mean(const Json& results, const LayerGroup& group, const std::function<double(const Json& layer)>& value) {
  Moments mean;
  for (int64_t layer = group.first; layer <= group.last; ++layer) {
    const double one = value(results.at("layers").at(static_cast<size_t>(layer)));
    if (!std::isnan(one)) mean.add(one);
  }
  return mean.mean();
}

double group_mean(const Json& results, const LayerGroup& group, const char* key) {
  return group_mean(results, group, [key](const Json& layer) { return number_or_nan(layer.at(key)); });
}

std::string group_text(const Json& results, const LayerGroup& group, const std::string& key) {
  return number(group_mean(results, group, key.c_str()),
                group_mean(results, group, [&](const Json& layer) { return standard_error(layer, key); }));
}

Series layer_series(const Json& results, const std::string& name, const std::string& key, bool dashed) {
  Series series{name, {}, {}, Series::Mark::line_and_points, dashed, false, {}, {}};
  for (const Json& layer : results.at("layers")) {
    series.x.push_back(layer.at("layer").get<double>());
    series.y.push_back(number_or_nan(layer.at(key)));
    series.errors.push_back(standard_error(layer, key));
    series.hover.push_back(
        fmt::format("layer {}, {}: {}", layer.at("layer").get<int64_t>(), name, number_with_error(layer, key)));
  }
  return series;
}

}  // namespace spikescope
