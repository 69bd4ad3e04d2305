// How well the candidates of a scan do against what passes over prompts have found.
#pragma once

#include <string>

#include "io/json.h"
#include "scan/scan.h"

namespace spikescope {

/// `spikes` is the spikes.json of a run of the same model, read from `file`. Throws Error where it is not that.
///
/// Dimensions: those of the plateaus. Neurons: those with at least kNeuronShare of what their block's MLP writes to or
/// cancels at a spike dimension. Tokens: those that are spikes behind the first position (against Walk::inside) and at
/// it (Walk::first). Of each set: how many there are, the rank of each among the candidates (from 1, null when not
/// listed), and the share found among the first n, 2 n, where n is the number there are.
Json judge(const ScanResult& result, const Json& spikes, const std::string& file);
inline constexpr double kNeuronShare = 0.1;

}  // namespace spikescope
