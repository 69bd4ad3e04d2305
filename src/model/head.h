// From what leaves the last block to logits and losses.
#pragma once

#include <vector>

#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/weights.h"

namespace spikescope {

/// Final norm and logits of `residual` [N, d], as far as hooks or losses want them. With `losses`, returns [N]
/// -log p(next token) in nats, NaN at a prompt's last token; empty otherwise. Throws Error as ModelWeights::read_rows
/// does.
std::vector<float> run_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks, bool losses,
                            const std::vector<float>& residual);

}  // namespace spikescope
