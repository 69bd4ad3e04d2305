// Which tokens a capture keeps columns and rows of: found while the pass runs, so that spikes inside the text count
// too.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "base/tensor_view.h"
#include "model/sink_statistics.h"

namespace spikescope {

/// The first token of each prompt, and every token that the automatic spike rule (stats/spike_rule.h) has found in a
/// residual state shown so far. At most kMost a prompt, those with the largest norms first.
class SpikeTracker {
 public:
  static constexpr size_t kMost = 32;

  /// `offsets`: [prompts + 1].
  explicit SpikeTracker(std::span<const int64_t> offsets);
  /// Adds the spike tokens of rows [first_row, first_row + rows) of a residual state, which hold whole prompts.
  void look(const TensorView& residual, int64_t first_row);
  /// Goes on from tokens() of an earlier tracker of the same prompts.
  void restore(const std::vector<TokenPosition>& tokens);
  /// Ascending.
  std::vector<TokenPosition> tokens() const { return {tokens_.begin(), tokens_.end()}; }

 private:
  std::vector<int64_t> offsets_;
  std::vector<size_t> kept_;  // per prompt
  std::set<TokenPosition> tokens_;
};

}  // namespace spikescope
