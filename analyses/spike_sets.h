// The spike tokens of each block of each prompt.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyses/residual_scan.h"

namespace spikescope {

/// Tokens of one prompt, ascending.
struct SpikeSet {
  std::vector<int64_t> tokens;  ///< spike tokens of the state that enters the block; often empty
  /// The same where there are any; else those of the nearest earlier state that had any; else the first token, the sink
  /// of arXiv 2410.10781.
  std::vector<int64_t> latest;
};

/// Whether more than half of the windows have spike tokens in the state that enters a block.
bool most_have_spikes(std::span<const SpikeSet> block);

/// [blocks][prompts], from r_0 .. r_(L - 1).
std::vector<std::vector<SpikeSet>> spike_sets(std::span<const LayerScan> layers);

}  // namespace spikescope
