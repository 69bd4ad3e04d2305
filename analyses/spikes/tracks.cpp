#include "analyses/spikes/tracks.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "stats/quantile.h"
#include "stats/window_mean.h"

namespace spikescope {
namespace {

using SpikeKey = std::pair<int64_t, int64_t>;  // prompt, token

std::map<SpikeKey, const TokenSpike*> spikes_of(const LayerScan& layer) {
  std::map<SpikeKey, const TokenSpike*> spikes;
  for (size_t prompt = 0; prompt < layer.spikes.size(); ++prompt) {
    for (const TokenSpike& spike : layer.spikes[prompt]) spikes[{static_cast<int64_t>(prompt), spike.token}] = &spike;
  }
  return spikes;
}

const SpikeDim* find_dim(const TokenSpike& spike, int64_t dim) {
  const auto found =
      std::find_if(spike.dims.begin(), spike.dims.end(), [&](const SpikeDim& d) { return d.dim == dim; });
  return found == spike.dims.end() ? nullptr : &*found;
}

/// Whether a token's spike in one state is the same in the next: dimension, sign and level.
bool continues(const TokenSpike& now, const TokenSpike& next) {
  const SpikeDim* same = find_dim(next, now.dims[0].dim);
  if (!same || !find_dim(now, next.dims[0].dim)) return false;
  const double step = static_cast<double>(same->value) / now.dims[0].value;
  return step > 1.0 / kSameLevel && step < kSameLevel;
}

/// Whether at least half of the spikes of two neighbouring states are in both, on one level.
bool same_level(const LayerScan& layer, const LayerScan& next_layer) {
  const auto now = spikes_of(layer), next = spikes_of(next_layer);
  size_t together = now.size() + next.size(), kept = 0;
  for (const auto& [key, spike] : now) {
    const auto found = next.find(key);
    if (found == next.end()) continue;
    --together;
    if (continues(*spike, *found->second)) ++kept;
  }
  return kept > 0 && 2 * kept >= together;
}

Plateau describe(std::span<const LayerScan> layers, int64_t first, int64_t last) {
  std::map<SpikeKey, int64_t> states_of_token;
  std::map<int64_t, std::map<int64_t, std::vector<double>>> values_of_dim;  // dimension, window
  for (int64_t l = first; l <= last; ++l) {
    for (const auto& [key, spike] : spikes_of(layers[static_cast<size_t>(l)])) ++states_of_token[key];
  }
  const int64_t states = last - first + 1;
  std::erase_if(states_of_token, [&](const auto& entry) { return 2 * entry.second < states; });

  Plateau plateau{first, last, {}, {}, {}, 0, {}};
  std::set<int64_t> windows;
  size_t member_states = 0;
  for (const auto& [key, count] : states_of_token) {
    plateau.tokens.push_back(key);
    windows.insert(key.first);
  }
  plateau.windows = static_cast<int64_t>(windows.size());
  for (int64_t l = first; l <= last; ++l) {
    for (const auto& [key, spike] : spikes_of(layers[static_cast<size_t>(l)])) {
      if (!states_of_token.contains(key)) continue;
      ++member_states;
      for (const SpikeDim& dim : spike->dims) values_of_dim[dim.dim][key.first].push_back(dim.value);
    }
  }
  struct Level {
    double value = 0.0, error = 0.0;
    size_t states = 0;
  };
  std::map<int64_t, Level> levels;
  size_t most = 0;
  for (const auto& [dim, of_windows] : values_of_dim) {
    std::vector<std::vector<double>> by_window;
    std::vector<double> all;
    for (const auto& [window, values] : of_windows) {
      by_window.push_back(values);
      all.insert(all.end(), values.begin(), values.end());
    }
    most = std::max(most, all.size());
    levels[dim] = {lower_median(all), window_median_error(by_window), all.size()};
  }
  // Where spikes differ so much that no dimension has half of them, the most frequent ones stand for the plateau.
  const size_t least = std::min(most, (member_states + 1) / 2);
  for (const auto& [dim, level] : levels) {
    if (level.states >= least) plateau.dims.push_back(dim);
  }
  std::stable_sort(plateau.dims.begin(), plateau.dims.end(),
                   [&](int64_t a, int64_t b) { return std::abs(levels[a].value) > std::abs(levels[b].value); });
  for (int64_t dim : plateau.dims) {
    plateau.values.push_back(levels[dim].value);
    plateau.errors.push_back(levels[dim].error);
  }
  return plateau;
}

}  // namespace

std::vector<SpikeRun> spike_runs(std::span<const LayerScan> layers) {
  std::map<SpikeKey, std::vector<std::pair<int64_t, const TokenSpike*>>> states;
  for (size_t l = 0; l < layers.size(); ++l) {
    for (const auto& [key, spike] : spikes_of(layers[l])) states[key].push_back({static_cast<int64_t>(l), spike});
  }
  std::vector<SpikeRun> runs;
  for (const auto& [key, lives] : states) {
    for (size_t begin = 0, end = 0; begin < lives.size(); begin = end) {
      size_t peak = begin;
      for (end = begin;
           end < lives.size() && lives[end].first - lives[begin].first == static_cast<int64_t>(end - begin); ++end) {
        if (std::abs(lives[end].second->dims[0].value) > std::abs(lives[peak].second->dims[0].value)) peak = end;
      }
      SpikeRun run{key.first, key.second, lives[begin].first, lives[end - 1].first + 1, lives[peak].first, {},
                   0.0,       0.0};
      if (run.death == static_cast<int64_t>(layers.size())) run.death = -1;
      for (const SpikeDim& dim : lives[peak].second->dims) run.dims.push_back(dim.dim);
      run.value = lives[peak].second->dims[0].value;
      const double median = layers[static_cast<size_t>(run.peak)].window_median[static_cast<size_t>(run.prompt)];
      run.ratio = std::abs(run.value) / median;
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

std::vector<Plateau> find_plateaus(std::span<const LayerScan> layers) {
  const int64_t n = static_cast<int64_t>(layers.size());
  const auto windows = [&](int64_t l) {
    return l < 0 || l >= n ? int64_t{0} : layers[static_cast<size_t>(l)].spike_windows();
  };
  std::vector<Plateau> plateaus;
  for (int64_t first = 0, last = 0; first < n; first = last + 1) {
    last = first;
    if (windows(first) == 0) continue;
    while (last + 1 < n && same_level(layers[static_cast<size_t>(last)], layers[static_cast<size_t>(last + 1)])) ++last;
    // A single state beside others with spikes is a step on the way up or down; one that stands alone has to be in half
    // of the windows to count.
    const bool alone = windows(first - 1) == 0 && windows(last + 1) == 0 &&
                       2 * windows(first) >= static_cast<int64_t>(layers[static_cast<size_t>(first)].spikes.size());
    if (last == first && !alone) continue;
    Plateau plateau = describe(layers, first, last);
    if (!plateau.tokens.empty()) plateaus.push_back(std::move(plateau));
  }
  return plateaus;
}

}  // namespace spikescope
