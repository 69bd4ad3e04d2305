// What all evaluations need to run a model: what changes its activations, how much of the work goes through it at a
// time, and whom to tell.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/tensor_view.h"
#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/int8_product.h"

namespace spikescope {

/// Attaches what changes the model's activations (quantizers, templates) to the hooks of one pass over `batch`, whose
/// prompts begin at their offsets. May be empty: nothing is changed.
using AttachInterventions = std::function<void(Hooks& hooks, const TokenBatch& batch)>;

/// Tokens of a pass. The weights are read and brought into panels once a pass, which costs as much as some 200 tokens;
/// the residual stream of all tokens is kept, 128 MiB for a width of 4,096.
inline constexpr int64_t kBatchTokens = 8192;

struct EvaluationPass {
  AttachInterventions attach = {};
  /// Ids in front of every prompt (quant/prefix.h), whose own predictions do not count; `attach` is given the batch
  /// with them.
  std::vector<int64_t> prefix = {};
  std::vector<BlockInt8Inputs> int8 = {};  ///< RunOptions::int8
  int64_t batch_tokens = kBatchTokens;
  /// Fraction of what was missing at the call that is done, 0 to 1.
  std::function<void(double fraction)> progress = {};
  /// Called after each pass: its results are there, and may be saved.
  std::function<void()> kept = {};
  /// Called after each block of each pass with the states of the pass's tokens, those of prefixes
  /// included, as PassObserver::block_done.
  std::function<void(int layer, const TensorView& residual)> block_done = {};
};

}  // namespace spikescope
