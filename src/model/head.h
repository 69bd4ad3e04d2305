// From what leaves the last block to logits and losses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/weights.h"

namespace spikescope {

/// What token `id` costs behind the token of `row`: -log p in nats.
struct Prediction {
  int64_t row, id;
};

/// The next tokens of all prompts.
std::vector<Prediction> next_tokens(const TokenBatch& batch);

/// Final norm and logits of `residual` [N, d], as far as hooks or `predictions` (rows ascending) want them; without
/// hooks on them, of the predictions' rows alone. Returns what each prediction costs. Throws Error as
/// ModelWeights::read_rows does.
std::vector<float> run_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks,
                            std::span<const Prediction> predictions, const std::vector<float>& residual);

}  // namespace spikescope
