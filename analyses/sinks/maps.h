// Attention over query and key in a few blocks: what the papers show as heat maps. A map covers the first tokens of the
// first prompt, whatever the length of the prompts, and is the mean over heads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "analyses/analysis.h"
#include "analyses/spike_sets.h"
#include "analyses/spikes/tracks.h"

namespace spikescope {

/// Tokens that a map shows at most.
inline constexpr int64_t kMapTokens = 32;

struct AttentionMap {
  int64_t tokens = 0;
  /// [tokens, tokens], queries down, keys across; NaN where the query does not see the key. Logits as they enter the
  /// softmax: scaled, capped, with ALiBi; probabilities are shares of all the keys that the query sees.
  std::vector<double> logits, pattern;
};

/// Made from what the block's attention reads and its weights, as the pass does. Throws Error as Projections do; asks
/// for why_no_projections() to be empty.
AttentionMap attention_map(const AnalysisInput& input, int64_t block);

/// Blocks that are shown, as the results list them: the last before any spike, and the middles of the first and the
/// last plateau; without plateaus the middle of the model. `what` is "before", "first", "last" or "middle".
struct MapPlace {
  int64_t block = 0;
  const char* what = "";
};
std::vector<MapPlace> map_places(std::span<const std::vector<SpikeSet>> sets, std::span<const Plateau> plateaus);

/// The maps of these places into `/maps/logits` and `/maps/pattern`, and `maps` and `maps_note` of sinks.json.
Json write_maps(const AnalysisInput& input, std::span<const std::vector<SpikeSet>> sets,
                std::span<const Plateau> plateaus, H5File& arrays);

/// A heat map of the logits for each of them, and of the pattern for the last.
std::vector<Figure> map_figures(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
