// Queries, keys and values of multi-head latent attention (arXiv 2405.04434, section 2.1).
#pragma once

#include "model/linear.h"
#include "model/norm.h"

namespace spikescope {

/// c_q = norm(W_qa x), q = W_q c_q; [c_kv | k_r] = W_kva x, [k_c | v] of each head = W_kvb norm(c_kv), and each head's
/// key is [k_c | k_r]: the channels that turn (k_r) come last and are the same in all heads.
class LatentProjections {
 public:
  /// Throws Error as ModelWeights::read_rows does.
  void load(const ModelWeights& weights, int layer);
  /// x [rows, d] -> out [rows, q | k | v], before positions. On the calling thread inside a parallel region.
  void operator()(const Architecture& architecture, ConstMatrixView x, MatrixView out) const;
  double flops() const { return q_a_.flops() + q_.flops() + kv_a_.flops() + kv_b_.flops(); }

 private:
  Linear q_a_, q_, kv_a_, kv_b_;
  Norm q_norm_, kv_norm_;
};

}  // namespace spikescope
