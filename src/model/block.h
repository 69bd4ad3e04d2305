// One transformer block: its weights in float32, and the pass of a group of prompts through it. Reading Block's
// operator() tells the architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hooks/hooks.h"
#include "model/architecture.h"
#include "model/attention.h"
#include "model/rope.h"
#include "model/weights.h"

namespace spikescope {

/// Weights of one block. Buffers are kept from layer to layer; projections that read the same input stand in one
/// matrix.
struct BlockWeights {
  std::vector<float> ln1, ln2;
  std::vector<float> w_qkv, b_qkv;  ///< [(heads + 2 kv heads) * head_dim, d]; biases empty where the model has none
  std::vector<float> w_o, b_o;
  std::vector<float> w_gate_up, b_gate_up;  ///< [2 * width, d]
  std::vector<float> w_down, b_down;

  void load(const ModelWeights& weights, int layer);
};

/// A group of whole prompts on its way through the blocks.
struct PromptGroup {
  int64_t first_prompt = 0, last_prompt = 0;  ///< [first, last)
  int64_t first_row = 0, rows = 0;            ///< its tokens among those of all prompts
};

/// Runs blocks; owns the buffers they share.
class Block {
 public:
  /// `offsets`: [prompts + 1] token offsets. `largest_group`: rows of the largest group that will come.
  Block(const Architecture& architecture, std::span<const int64_t> offsets, int64_t largest_group);

  /// Adds the block's attention and MLP to `residual` [rows, d], the group's rows of the residual stream. Calls the
  /// hooks of all points after resid_pre, which the caller has called.
  void operator()(const BlockWeights& weights, int layer, const PromptGroup& group, float* residual, const Hooks& hooks,
                  SinkAccumulator* sinks);

 private:
  struct Place;
  void attention(const BlockWeights& weights, const Place& place, SinkAccumulator* sinks);
  void mlp(const BlockWeights& weights, const Place& place, int64_t first, int64_t count);

  const Architecture& architecture_;
  std::span<const int64_t> offsets_;
  CausalAttention attention_;
  RopeTable rope_;
  std::vector<float> normed_, qkv_, z_, update_, gate_up_, post_;
};

/// Rows that go through the MLP at a time.
constexpr int64_t kMlpRows = 1024;

}  // namespace spikescope
