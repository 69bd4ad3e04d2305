// What attention of a block may see besides its tokens' own keys and values, and which of these it does not see: an
// explicit attention bias (arXiv 2402.17762, section 4.3).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace spikescope {

/// softmax([K k'^T] q) [V; v'] for every query q of every prompt, with the rows of K and V of hidden tokens left out.
/// Where that leaves a query nothing to see, attention gives 0.
struct AttentionBias {
  int64_t rows = 0;  ///< of k' and v': keys that every query sees, wherever it stands; scores as of others
  std::span<const float> keys = {};    ///< [rows, kv_heads, head_dim], as they enter the dot product
  std::span<const float> values = {};  ///< [rows, kv_heads, v_dim]
  std::vector<int64_t> hidden = {};    ///< tokens whose own key no query sees, among those of all prompts, ascending

  bool empty() const { return rows == 0 && hidden.empty(); }
};

/// Asked when attention of a group of prompts comes up, on the thread that runs the pass: what hooks before it have
/// found may decide. What the spans point to is used until the next call.
using AttentionBiasSource = std::function<AttentionBias()>;

}  // namespace spikescope
