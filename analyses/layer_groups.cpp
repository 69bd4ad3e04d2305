#include "analyses/layer_groups.h"

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

}  // namespace spikescope
