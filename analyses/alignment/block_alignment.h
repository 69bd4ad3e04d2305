// The alignment measures of one block: a template x* against ordinary tokens x_i, through W_Q, W_K and W_V.
#pragma once

#include <span>
#include <vector>

#include "analyses/token_vectors.h"
#include "model/weights.h"

namespace spikescope {

/// A value a window that has ordinary tokens; NaN where undefined.
using ByWindow = std::vector<double>;

/// Of one query head with queries q_i of the ordinary tokens, the template's key k* and ordinary keys k_j of kv(h); all
/// with bias, before QK-norm and positions.
struct HeadAlignment {
  ByWindow cos_template;        ///< mean_i cos(q_i, k*)
  ByWindow cos_other;           ///< mean_ij cos(q_i, k_j), keys of all windows
  ByWindow positive;            ///< share of queries with cos(q_i, k*) > 0
  ByWindow logit_gap;           ///< scale (mean_i q_i.k* - mean_ij q_i.k_j), keys of all windows
  double z = 0.0;               ///< (q^.k* - mean_j q^.k_j) / std_j, q^ the mean of q_i / ||q_i||
  ByWindow z_without;           ///< z from all windows but this one
  ByWindow template_logit;      ///< mean_i q_i.W_K x*, without the key's bias; NaN where k is not linear in x
  ByWindow spike_logit;         ///< the part of it that comes from the spike dimension of x* alone; NaN likewise
};

/// Sums of one KV head over the ordinary tokens of one window.
struct KvSums {
  double key_norm = 0.0;      ///< ||k_i||
  double key_contrast = 0.0;  ///< ||W_K (x_i - mean)|| / ||x_i - mean||
  double value_norm = 0.0;    ///< ||v_i||, without the value's bias
  double value_gain = 0.0;    ///< ||W_V x_i|| / ||x_i||
};

/// The same of the template, and what random vectors give.
struct KvTemplate {
  double key_norm = 0.0, key_contrast = 0.0, value_norm = 0.0, value_gain = 0.0;
  double random_gain = 0.0;  ///< ||W_V||_F / sqrt(d)
};

struct BlockAlignment {
  bool linear = true;  ///< false (latent attention): contrasts and gains, which are of matrices, are NaN
  std::vector<HeadAlignment> heads;
  std::vector<KvTemplate> kv_heads;
  std::vector<std::vector<KvSums>> kv_windows;  ///< [windows with ordinary tokens][kv heads]
  std::vector<int64_t> window_tokens;           ///< [windows]: ordinary tokens of each
  std::vector<double> window_norms;             ///< [windows]: sum of ||x_i||
  double template_norm = 0.0;                   ///< ||x*||
  ByWindow cos_input;                           ///< mean_i cos(x_i, x*)
};

/// Measures a block. `x_star` [d], finite; `spike_dim` may be -1. The
/// products are those of the forward pass (model/linear.h), sums are in double. Throws Error as ModelWeights::read
/// does.
BlockAlignment measure_alignment(const ModelWeights& weights, int layer, const TokenVectors& ordinary,
                                 std::span<const double> x_star, int64_t spike_dim);

}  // namespace spikescope
