#include "analyses/spike_sets.h"

#include <algorithm>

namespace spikescope {

bool most_have_spikes(std::span<const SpikeSet> block) {
  const auto windows =
      std::count_if(block.begin(), block.end(), [](const SpikeSet& set) { return !set.tokens.empty(); });
  return 2 * static_cast<size_t>(windows) > block.size();
}

std::vector<std::vector<SpikeSet>> spike_sets(std::span<const LayerScan> layers) {
  std::vector<std::vector<SpikeSet>> sets;
  for (size_t l = 0; l + 1 < layers.size(); ++l) {
    std::vector<SpikeSet> block(layers[l].spikes.size());
    for (size_t prompt = 0; prompt < block.size(); ++prompt) {
      SpikeSet& set = block[prompt];
      for (const TokenSpike& spike : layers[l].spikes[prompt]) set.tokens.push_back(spike.token);
      if (!set.tokens.empty()) {
        set.latest = set.tokens;
      } else {
        set.latest = l == 0 ? std::vector<int64_t>{0} : sets[l - 1][prompt].latest;
      }
    }
    sets.push_back(std::move(block));
  }
  return sets;
}

}  // namespace spikescope
