// A mixture of experts in place of a block's MLP. Experts are converted one at a time, each once a layer for all
// prompts, so that a layer's experts need not be in memory together.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "model/linear.h"

namespace spikescope {

/// What the router has decided, for each token.
struct Routing {
  std::vector<float> logits;     ///< [rows, experts]
  std::vector<int64_t> indices;  ///< [rows, per_token]
  std::vector<float> weights;    ///< [rows, per_token]
};

class ExpertMlps {
 public:
  explicit ExpertMlps(const ModelWeights& weights) : weights_(weights) {}

  /// Router logits of `x` [rows, d], and what is chosen by them. Throws Error as ModelWeights::read_rows does.
  std::vector<float> logits(int layer, ConstMatrixView x);
  Routing route(int layer, std::vector<float> logits) const;
  /// out [rows, d] = sum over a row's experts of weight * expert(x), and the shared experts' MLP.
  void operator()(int layer, const Routing& routing, ConstMatrixView x, MatrixView out);

 private:
  void load(const WeightKey& gate, const WeightKey& up, const WeightKey& down);
  /// Adds weights[i] * mlp(x[rows[i]]) to out[rows[i]].
  void add(std::span<const int64_t> rows, std::span<const float> weights, ConstMatrixView x, MatrixView out) const;

  const ModelWeights& weights_;
  Linear gate_up_, down_;  // of the expert at hand
};

}  // namespace spikescope
