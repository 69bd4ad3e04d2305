// Which experts a token goes through.
#pragma once

#include <cstdint>

#include "model/architecture.h"

namespace spikescope {

/// The experts with the highest scores among those that the architecture allows (Experts), the best first; of equal
/// ones the first. `logits` [experts]; `bias` [experts] is added to the scores for the choice alone, and may be null;
/// `indices` and `weights` [per_token] are written.
void choose_experts(const Experts& experts, const float* logits, const float* bias, int64_t* indices, float* weights);

}  // namespace spikescope
