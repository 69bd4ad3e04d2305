// The key and the value that stand in for spike tokens in attention: what a block makes of a template.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/weights.h"

namespace spikescope {

/// k' and v' of a block's KV heads.
struct SinkBias {
  std::vector<float> key;    ///< [kv_heads, head_dim], as it enters the dot product
  std::vector<float> value;  ///< [kv_heads, v_dim]
};

/// Why models of this architecture have no k' and v'; empty: they have.
std::string why_no_sink_bias(const Architecture& architecture);

/// k' = W_K x + b_K, with the model's norm of keys and its rotation of position 0, v' = W_V x + b_V; x is [d] of what
/// attention of block `layer` reads. The model is one for which why_no_sink_bias() says nothing. Throws Error as
/// ModelWeights::read_rows does.
SinkBias sink_bias_of(const ModelWeights& weights, int layer, std::span<const float> x);

}  // namespace spikescope
