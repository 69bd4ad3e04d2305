// From token ids or images to what enters the first block.
#pragma once

#include <vector>

#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/weights.h"

namespace spikescope {

/// The residual stream [N, d] that enters block 0: embedding of tokens or patches (reported as `embed`), scale, token
/// type, positions, norm. Throws Error as ModelWeights::read_rows does.
std::vector<float> embed(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks);

}  // namespace spikescope
