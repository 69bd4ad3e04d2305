// The implicit bias: what attention to the spike tokens adds to the attention output.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "capture/dump.h"
#include "model/weights.h"

namespace spikescope {

/// Of one prompt in one block, over its queries t >= first_query.
struct BiasShare {
  double ratio = 0.0;          ///< sum of ||B_t|| / ||o_t||
  int64_t ratio_queries = 0;   ///< number of terms: queries with o_t != 0
  double cosine = 0.0;         ///< sum of cos(B_t, direction)
  int64_t biased_queries = 0;  ///< number of terms: queries with B_t != 0
};

/// The part B of o = B + R in one block of one prompt: B_t = sum over the spike tokens s of sum over heads h of
/// P_h[t, s] W_O^h v_s of kv(h) = floor(h / (heads / kv heads)).
class PromptBias {
 public:
  /// `w_o` [d, heads * head_dim]; `spikes` ascending. Spike tokens whose columns the dump did not keep contribute
  /// nothing.
  PromptBias(const SinkStatistics& sinks, const Weight& w_o, std::span<const int64_t> spikes, int64_t prompt);

  /// Adds the sum of B_t over the prompt's queries t >= first_query to `sum` [d].
  void add_sum(std::span<double> sum, int64_t first_query) const;
  /// `attn_out` [T, d] of the prompt; `direction` [d] of any length, for the cosine.
  BiasShare share(std::span<const float> attn_out, std::span<const double> direction, int64_t first_query) const;

 private:
  struct Source {
    std::span<const float> columns;  // [T, heads]
    std::vector<float> outputs;      // [heads, d]: W_O^h v_s
  };
  int64_t heads_, d_;
  std::vector<Source> sources_;
};

}  // namespace spikescope
