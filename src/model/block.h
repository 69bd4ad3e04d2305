// One transformer block: its weights as products want them, and the pass of a group of prompts through it. Reading
// Block's attention() and mlp() tells the architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "hooks/hooks.h"
#include "model/architecture.h"
#include "model/attention.h"
#include "model/product.h"
#include "model/rope.h"
#include "model/weights.h"

namespace spikescope {

/// A linear layer, y = W x + b; or several that read the same input, one below the other.
class Linear {
 public:
  /// Converts the weights of these roles (and their biases, where the model has them), on all threads. Throws Error as
  /// ModelWeights::read_rows does.
  void load(const ModelWeights& weights, int layer, std::span<const Role> roles, std::span<const Role> biases = {});
  /// out = x W^T + b; on the calling thread inside a parallel region, on all threads outside.
  void operator()(ConstMatrixView x, MatrixView out) const;

 private:
  Panels weight_;
  std::vector<float> bias_;  // empty: none
};

/// Weights of one block. Their memory is kept from layer to layer.
struct BlockWeights {
  std::vector<float> ln1, ln2;
  Linear qkv, o;         ///< [(heads + 2 kv heads) * head_dim, d]; [d, heads * head_dim]
  Linear gate_up, down;  ///< [2 * width, d]; [d, width]

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
  struct Rows;
  class Steps;
  template <class Work>
  void for_slices(const Place& place, std::initializer_list<Point> scratch_points, const Work& work);
  void projections(const BlockWeights& weights, const Place& place, Steps& steps);
  void attention(const Place& place, SinkAccumulator* sinks);
  void output_and_mlp(const BlockWeights& weights, const Place& place, Steps& steps);
  void add_norm(Steps& steps, const Place& place, const std::vector<float>& gain);
  void add_update(Steps& steps, const Place& place);
  ConstMatrixView normed(const Rows& rows) const;
  void rotate(const Place& place, int64_t first, int64_t count);

  const Architecture& architecture_;
  std::span<const int64_t> offsets_;
  CausalAttention attention_;
  RopeTable rope_;
  Buffer qkv_, z_;                           // rows of a group
  Buffer normed_, update_, gate_up_, post_;  // rows of a slice
  int64_t normed_stride_ = 0;                // as the products that read it like it
};

}  // namespace spikescope
