// Calibration: passes over a text find where spikes are born and end, the vectors that take their place, and the
// ranges of what is to be quantized; one more, behind a prefix, the ranges that are left when spikes settle on it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/weights.h"
#include "quant/templates.h"

namespace spikescope {

/// Fraction done, 0 to 1, and what is at work.
using CalibrationProgress = std::function<void(double fraction, const std::string& part)>;

struct CalibrationSettings {
  double eta = kBirthFactor;
  RotationKind rotation = RotationKind::none;  ///< in which ranges are taken as well
  uint64_t seed = 0;                           ///< of the rotations
  /// Ids in front of every prompt (quant/prefix.h); empty: no such pass. Nothing: those of choose_prefix(), where the
  /// prompts with them fit the model's context.
  std::optional<std::vector<int64_t>> prefix = std::vector<int64_t>();
};

/// The first pass keeps 20 bytes a token and block (find_spike_courses); the second, which knows the spike tokens,
/// takes sums of their values and histograms of all others'. With a rotation there is one more, which takes histograms
/// of the values in the balance that the second has found (quant/balance.h), and with a prefix another, behind it.
/// Beside the pass's own memory that is all there is: values themselves are not kept. The result depends on the tokens
/// alone, not on the number of threads. `info` goes into the result as it is, but for its numbers of tokens; what the
/// prefix spells is left to those who have a tokenizer. Throws UsageError for a model that has no such sites
/// (require_sites) or an eta below 1, and as Rotation does; Error as run_model does.
SpikeTemplates calibrate(const ModelWeights& weights, const TokenBatch& batch, CalibrationInfo info,
                         const CalibrationSettings& settings, const CalibrationProgress& progress);

}  // namespace spikescope
