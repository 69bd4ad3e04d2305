// One transformer block: its weights as products want them, and the pass of a group of prompts through it. Reading
// Block's operator() tells the architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "hooks/hooks.h"
#include "model/architecture.h"
#include "model/attention.h"
#include "model/experts.h"
#include "model/latent_attention.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/prompt_layout.h"
#include "model/rope.h"
#include "model/weights.h"

namespace spikescope {

/// Weights of one block, but for its experts. Their memory is kept from layer to layer.
struct BlockWeights {
  Norm ln1, ln1_post, ln2, ln2_post, q_norm, k_norm;
  std::vector<float> ln1_scale, ln2_scale;  // empty: none
  Linear qkv, o;                            ///< [q + k + v, d]; [d, heads * v_dim]
  LatentProjections latent;                 ///< in place of qkv
  Linear gate_up, down;                     ///< [2 * width, d], without a gate [width, d]; [d, width]

  /// `int8`: which of its linear layers multiply in whole numbers.
  void load(const ModelWeights& weights, int layer, const BlockInt8Inputs& int8 = {});
};

/// A group of whole prompts on its way through the blocks.
struct PromptGroup {
  int64_t first_prompt = 0, last_prompt = 0;  ///< [first, last)
  int64_t first_row = 0, rows = 0;            ///< its tokens among those of all prompts
};

/// Runs blocks; owns the buffers they share.
class Block {
 public:
  /// `largest_group`: rows of the largest group that will come. Groups hold a prompt's parent with it.
  Block(const ModelWeights& weights, const PromptLayout& prompts, int64_t largest_group);

  /// Adds the block's attention and MLP to `residual` [rows, d], the group's rows of the residual stream. Calls the
  /// hooks of all points after resid_pre, which the caller has called. Of a block with experts it runs attention only.
  void operator()(const BlockWeights& weights, int layer, const PromptGroup& group, float* residual, const Hooks& hooks,
                  SinkAccumulator* sinks);

  /// The rest of a block with experts, for all prompts together: `all` is the group of all, `residual` all rows.
  void mixture(const BlockWeights& weights, int layer, const PromptGroup& all, float* residual, const Hooks& hooks);

 private:
  struct Place;
  struct Rows;
  struct Update;
  class Steps;
  template <class Work>
  void for_slices(const Place& place, std::initializer_list<Point> scratch_points, const Work& work);
  void projections(const BlockWeights& weights, const Place& place, Steps& steps);
  void norm_queries_and_keys(const BlockWeights& weights, const Rows& rows);
  void rotate(const Place& place, const RopeTable& rope, int64_t first, int64_t count);
  void attention(const Place& place, SinkAccumulator* sinks);
  void attention_output(const BlockWeights& weights, const Place& place, Steps& steps);
  void mlp_norm(const BlockWeights& weights, const Place& place, Steps& steps);
  void mlp(const BlockWeights& weights, const Place& place, Steps& steps);
  void add_mlp_update(const BlockWeights& weights, Buffer& values, const Place& place, Steps& steps);
  void add_update(const Update& update, const Place& place, Steps& steps);
  void norm_residual(const Norm& norm, Point point, const Place& place, Steps& steps);
  void normed_point(Point point, Steps& steps);
  void call_resid_post(const Place& place);
  int64_t normed_row(const Rows& rows) const;
  ConstMatrixView block_input(const Place& place, const Rows& rows) const;

  const Architecture& architecture_;
  const PromptLayout prompts_;
  Attention attention_;
  ExpertMlps experts_;
  std::vector<RopeTable> ropes_;
  Buffer qkv_, z_;                           // rows of a group
  Buffer normed_, update_, gate_up_, post_;  // rows of a slice; normed_ of a group where attention and MLP share it
  int64_t normed_stride_ = 0;                // as the products that read it like it
};

}  // namespace spikescope
