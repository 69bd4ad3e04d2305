// The forward pass, layer by layer: all prompts go through block 0, then all through block 1, ... Only one block's
// weights are in float32 at a time, and the residual stream is all that is carried along.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor_view.h"
#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/head.h"
#include "model/int8_product.h"
#include "model/sink_statistics.h"
#include "model/weight_stream.h"
#include "model/weights.h"

namespace spikescope {

/// What a pass tells besides the hook points. All calls come on the thread that runs the pass.
class PassObserver {
 public:
  virtual ~PassObserver() = default;
  /// Whether attention is to be reduced to SinkStatistics.
  virtual bool wants_sinks() const { return false; }
  /// Tokens whose probability columns block `layer` keeps, ascending; `resid_pre` is [N, d]. Asked only with
  /// wants_sinks().
  virtual std::vector<TokenPosition> kept_tokens(int layer, const TensorView& resid_pre) { return {}; }
  virtual void sinks(int layer, SinkStatistics statistics) {}
  /// `residual` is [N, d], what the next block reads.
  virtual void block_done(int layer, const TensorView& residual) {}
  /// Asked after each block: whether to end the pass here.
  virtual bool wants_stop() const { return false; }
  /// Fraction of the pass that is done, 0 to 1.
  virtual void progress(double fraction) {}
};

struct RunOptions {
  bool losses = false;  ///< compute next-token losses
  /// Losses of these in their place, by ascending row: what choices cost behind a beginning that they share.
  std::vector<Prediction> predictions = {};
  /// > 0: begin with this block and `residual` [N * d], what a pass left after the block before. Points of the blocks
  /// before are not reported.
  int first_layer = 0;
  std::vector<float> residual = {};
  WeightStream* stream = nullptr;  ///< that brings the weights; null: the pass makes one
  int64_t group_rows = 2048;  ///< tokens of whole prompts taken through a block at a time (a longer prompt goes alone)
  /// [blocks] which linear layers multiply in whole numbers of 8 bits, or empty: none. Not those of experts and latent
  /// attention. The weights have to be quantized as Linear::load says.
  std::span<const BlockInt8Inputs> int8 = {};
};

struct RunResult {
  bool stopped = false;  ///< wants_stop() has ended the pass early; there are no losses then
  /// [N] -log p(next token) in nats, NaN at a prompt's last token; [predictions] where these are asked for; or empty.
  std::vector<float> losses;
  double seconds = 0.0;         ///< of the pass, weights included
  double weight_seconds = 0.0;  ///< of these, spent converting weights
};

/// Throws Error for what run_model would refuse: ids outside the vocabulary, prompts that are empty or longer than the
/// context, parents that are not as TokenBatch says.
void check_prompts(const TokenBatch& batch, const Architecture& architecture);

/// Runs the prompts through the model as far as hooks, sinks or losses need it. Throws Error as check_prompts
/// does, for states that are not finite (naming layer and token), and for sinks, scores or pattern of prompts that have
/// parents or of attention with a bias (Hooks::bias_attention).
RunResult run_model(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks, PassObserver& observer,
                    const RunOptions& options = {});

}  // namespace spikescope
