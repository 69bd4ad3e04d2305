// What quantized weights and activations do to a model: losses, the largest values of its states, and spikes that it
// did not have.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "io/json.h"
#include "model/weights.h"
#include "quant/perplexity.h"
#include "quant/simulated_activations.h"

namespace spikescope {

/// A token has a new spike where its largest |h| after a block exceeds the median over tokens of the model without
/// changes by this factor, and that model has no such value of that token after any block.
inline constexpr double kNewSpikeFactor = 64.0;

/// What a model leaves on all windows.
struct LossesOfPass {
  std::vector<WindowLoss> windows;
  std::vector<double> largest_h;    ///< [blocks] largest |h| after the block
  std::vector<int64_t> new_spikes;  ///< [blocks] tokens with new spikes
  int64_t new_spike_tokens = 0;     ///< in any block
  double seconds = 0.0;             ///< of the passes, weights included
};

/// Models on the same windows, compared with the first of them, which is the model without changes.
class LossComparison {
 public:
  /// Runs the reference. Throws Error as measure_windows does. `progress`: fraction done, 0 to 1.
  LossComparison(const ModelWeights& weights, TextWindows windows, const std::function<void(double)>& progress);

  const TextWindows& windows() const { return windows_; }
  const LossesOfPass& reference() const { return reference_; }
  /// The same with these weights, of the same architecture, and activations (null: as they are). Where these have a
  /// prefix it stands in front of every window; what is counted is of the windows' own tokens. `int8`: activations are
  /// not simulated; linear layers multiply in whole numbers.
  LossesOfPass run(const ModelWeights& weights, const SimulatedActivations* activations,
                   const std::function<void(double)>& progress, bool int8 = false) const;
  /// The keys that rows of comparisons have: those of perplexity_json but for the text's bytes, those of
  /// difference_json, largest_h, new_spikes, blocks[] of {block, largest_h, new_spikes}, seconds, tokens_per_second (of
  /// the whole pass, with weights and head).
  Json row(const LossesOfPass& pass) const;

 private:
  using Peaks = std::vector<std::vector<float>>;  // [blocks][tokens] largest |h|
  LossesOfPass run(const ModelWeights& weights, const SimulatedActivations* activations, bool int8,
                   const std::function<void(double)>& progress, Peaks& peaks) const;

  const TextWindows windows_;
  LossesOfPass reference_;
  std::vector<double> thresholds_;  // [blocks] of new spikes
  std::vector<uint8_t> spikes_;     // [tokens] whether the reference exceeds one
};

}  // namespace spikescope
