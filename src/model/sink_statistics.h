// Attention of one block, reduced while it is computed: what is left of [heads, T, T] when nobody asks for it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace spikescope {

/// A token by its prompt and its position in it.
using TokenPosition = std::pair<int64_t, int64_t>;

/// Queries and keys count within their prompt; P is the pattern after softmax. Sums are taken in double.
struct SinkStatistics {
  /// Queries from this one on count in late_column_sums: past the first few, whose attention has nowhere else to go.
  static constexpr int64_t kLateQuery = 16;

  int64_t heads = 0, kv_heads = 0, head_dim = 0;  ///< head_dim of the values
  std::vector<float> column_sums;                 ///< [heads, N]: attention a key gets, summed over queries t >= 1
  std::vector<float> late_column_sums;            ///< [heads, N]: the same over queries t >= kLateQuery
  std::vector<float> entropy;  ///< [heads, prompts]: mean over t >= 1 of entropy(P[t]) / log(keys seen), in [0, 1]
  /// Tokens whose columns are kept: the first of each prompt, and spike tokens (automatic rule) of resid_pre of this
  /// block or an earlier one. Ascending.
  std::vector<TokenPosition> tokens;
  std::vector<std::vector<float>> columns;  ///< per kept token [T of its prompt, heads]: P[t, token]
  std::vector<float> values;                ///< [kept tokens, kv heads, head_dim]: attn.v of the kept tokens
};

}  // namespace spikescope
