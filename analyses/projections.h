// Queries, keys and values that a block makes of what its attention reads, from the weights alone: no pass is run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/latent_attention.h"
#include "model/linear.h"
#include "model/norm.h"

namespace spikescope {

/// What makes queries, keys and values of a block; the products are those of the forward pass.
class Projections {
 public:
  /// Throws Error as ModelWeights::read does.
  Projections(const ModelWeights& weights, int layer);
  /// Of rows x [rows, d]: [rows][q | k | v], with bias, before QK-norm and positions. The values are without bias:
  /// attention adds to 1, so that it gives the same to all queries.
  std::vector<float> operator()(const float* x, int64_t rows) const;
  /// Makes of such rows, in place, what positions turn: queries and keys cut to the architecture's limit, and
  /// QK-normed.
  void limit_and_norm(std::span<float> rows) const;

  /// Whether they are linear in x but for the bias: W_Q, W_K and W_V. Latent attention has a norm on the way.
  bool linear() const { return !a_.latent; }

  int64_t row_size() const { return a_.q_size() + a_.k_size() + a_.v_size(); }
  int64_t query(int64_t head) const { return head * a_.head_dim; }
  int64_t key(int64_t kv) const { return a_.q_size() + kv * a_.head_dim; }
  int64_t value(int64_t kv) const { return a_.q_size() + a_.k_size() + kv * a_.v_dim(); }

 private:
  const Architecture& a_;
  Linear qkv_;
  LatentProjections latent_;  ///< in place of qkv_
  Norm q_norm_, k_norm_;
  std::vector<float> value_bias_;
};

}  // namespace spikescope
