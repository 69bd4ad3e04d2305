// One figure for somebody who has never heard of spikes: how large they are, what attention makes of them, what they
// carry and how steady that is, over the layers.
#pragma once

#include <optional>
#include <span>

#include "analyses/run.h"

namespace spikescope {

/// Panels over the layers, from the results of spikes, sinks, alignment with convergence, and rope_bands; a panel whose
/// analysis was not run or does not apply is left out, and the caption says why. Nothing without results of spikes.
std::optional<Figure> at_a_glance(std::span<const AnalysisResult> results);

}  // namespace spikescope
