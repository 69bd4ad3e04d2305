// What quantized activations do to a model: losses, the largest values of its states, and spikes that it did not have.
#pragma once

#include <functional>
#include <vector>

#include "io/json.h"
#include "model/batch.h"
#include "model/weights.h"
#include "quant/simulated_activations.h"

namespace spikescope {

/// A token has a new spike where its largest |h| after a block exceeds the median over tokens of the model without
/// changes by this factor, and that model has no such value of that token after any block.
inline constexpr double kNewSpikeFactor = 64.0;

/// What one pass leaves.
struct LossesOfPass {
  std::vector<double> sums, first;  ///< [windows] loss over all positions, and at position 0, in nats
  std::vector<double> largest_h;    ///< [blocks] largest |h| after the block
  std::vector<int64_t> new_spikes;  ///< [blocks] tokens with new spikes
  int64_t new_spike_tokens = 0;     ///< in any block
  double seconds = 0.0;
};

/// Passes over the same windows, compared with the first of them, which changes nothing.
class LossComparison {
 public:
  /// Runs the reference. Throws Error where no window has two tokens, and as run_model does.
  LossComparison(const ModelWeights& weights, TokenBatch batch, const std::function<void(double)>& progress);

  const LossesOfPass& reference() const { return reference_; }
  /// A pass with these weights, of the same architecture, and activations (null: as they are). Where these have a
  /// prefix it stands in front of every window; what is counted is of the windows' own tokens.
  LossesOfPass run(const ModelWeights& weights, const SimulatedActivations* activations,
                   const std::function<void(double)>& progress) const;
  /// The keys that rows of comparisons have: perplexity, nll, nll_se, dnll, dnll_se (paired over windows),
  /// perplexity_without_position0, largest_h, new_spikes, blocks[] of {block, largest_h, new_spikes}, seconds.
  Json row(const LossesOfPass& pass) const;

 private:
  class StateObserver;
  /// `batch`: the windows, with so many ids in front of each.
  LossesOfPass run(const ModelWeights& weights, const TokenBatch& batch, size_t prefix, const Hooks& hooks,
                   StateObserver& observer) const;

  const TokenBatch batch_;
  std::vector<double> counts_;      // [windows] predictions
  std::vector<double> thresholds_;  // [blocks] of new spikes
  std::vector<uint8_t> spikes_;     // [tokens] whether the reference exceeds one
  LossesOfPass reference_;
};

}  // namespace spikescope
