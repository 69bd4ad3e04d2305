#include "intervene/placing.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "stats/sample.h"

namespace spikescope {
namespace {

/// Spike tokens of the state that the edit's point belongs to.
const std::vector<TokenSpike>& spikes_at(const Edit& edit, int64_t layer, std::span<const LayerScan> layers,
                                         size_t window) {
  return layers[static_cast<size_t>(layer + (edit.point == Point::resid_post))].spikes[window];
}

/// `count` positions of the window that are spikes in no state, ascending; fewer where there are not as many.
std::vector<int64_t> draw_ordinary(size_t window, int64_t length, size_t count, std::span<const LayerScan> layers,
                                   std::mt19937_64& random) {
  std::set<int64_t> spikes;
  for (const LayerScan& layer : layers)
    for (const TokenSpike& spike : layer.spikes[window]) spikes.insert(spike.token);
  std::vector<int64_t> candidates;
  for (int64_t t = length > kFirstOrdinary ? kFirstOrdinary : 1; t < length; ++t)
    if (!spikes.contains(t)) candidates.push_back(t);
  std::vector<int64_t> drawn =
      sample_without_replacement(std::ssize(candidates), static_cast<int64_t>(count), random(), 0);
  for (int64_t& one : drawn) one = candidates[static_cast<size_t>(one)];
  return drawn;
}

/// Positions within a window that the edit changes at `layer`.
std::vector<int64_t> positions_at(const Edit& edit, int64_t layer, size_t window, int64_t length,
                                  std::span<const LayerScan> layers, std::mt19937_64& random) {
  std::vector<int64_t> positions;
  switch (edit.tokens) {
    case EditTokens::spikes:
      for (const TokenSpike& spike : spikes_at(edit, layer, layers, window)) positions.push_back(spike.token);
      break;
    case EditTokens::ordinary:
      return draw_ordinary(window, length, spikes_at(edit, layer, layers, window).size(), layers, random);
    case EditTokens::all:
      positions.resize(static_cast<size_t>(length));
      std::iota(positions.begin(), positions.end(), 0);
      break;
    case EditTokens::listed:
      std::copy_if(edit.positions.begin(), edit.positions.end(), std::back_inserter(positions),
                   [&](int64_t position) { return position < length; });
      break;
  }
  return positions;
}

}  // namespace

std::vector<PlacedEdit> place_edits(std::span<const Edit> edits, const DumpTokens& tokens,
                                    std::span<const LayerScan> layers, std::mt19937_64& random) {
  std::vector<PlacedEdit> placed;
  for (const Edit& edit : edits) {
    PlacedEdit& place = placed.emplace_back(PlacedEdit{edit, {}});
    for (int64_t layer = edit.first; layer <= edit.last; ++layer) {
      std::vector<EditRow>& rows = place.rows.emplace_back();
      if (edit.tokens == EditTokens::ordinary && layer > edit.first) {
        rows = place.rows.front();
        continue;
      }
      for (int64_t window = 0; window < tokens.n_prompts(); ++window)
        for (const int64_t position :
             positions_at(edit, layer, static_cast<size_t>(window), tokens.length(window), layers, random))
          rows.push_back({tokens.offsets[static_cast<size_t>(window)] + position, position > 0});
    }
  }
  return placed;
}

}  // namespace spikescope
