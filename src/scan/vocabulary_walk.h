// Which tokens of the vocabulary reach a dimension in a model's first blocks, each by itself: no text is looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/weights.h"

namespace spikescope {

/// What stands in for attention, which alone makes a token's way depend on others.
enum class Walk {
  inside,  ///< attention adds nothing: what MLPs make of a token wherever it stands
  first,   ///< attention sees the token alone, as it does at the first position: W_O W_V of its own norm, exactly
};

/// Why a model has no such walk; empty: it has.
std::string why_no_walk(const Architecture& architecture);

/// [vocabulary][dims] the value of the largest magnitude among the states that leave blocks 0 .. blocks - 1, which run
/// on every id as a prompt of one token. Some thousand ids go at a time, so memory does not grow with the vocabulary.
/// `progress` gets the fraction done. Throws Error as run_model does.
std::vector<float> walk_vocabulary(const ModelWeights& weights, Walk walk, int blocks, std::span<const int64_t> dims,
                                   const std::function<void(double)>& progress);

}  // namespace spikescope
