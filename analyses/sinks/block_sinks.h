// The sink measures of one block over all prompts of a dump.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyses/spike_sets.h"
#include "capture/dump.h"
#include "model/weights.h"
#include "stats/moments.h"
#include "stats/window_mean.h"

namespace spikescope {

/// A head whose alpha is above this counts into the sink rate (arXiv 2410.10781).
inline constexpr double kSinkAlpha = 0.3;

struct BlockSinks {
  std::vector<Moments> alpha;    ///< [heads], over windows: attention on the first token, queries t >= 1
  std::vector<Moments> entropy;  ///< [heads], over windows
  std::vector<std::vector<double>> window_alpha;  ///< WindowAlpha
  Moments mean_entropy;                           ///< over windows: mean over heads
  Moments mass;                  ///< over windows: attention on the spike tokens
  std::vector<double> window_mass;  ///< the same of each of these windows
  Moments latest_mass;           ///< the same for SpikeSet::latest
  Moments bias_ratio;            ///< over windows: ||B_t|| / ||o_t||
  /// Cosine of B_t with its mean over all windows and queries: sum, queries with B_t != 0, all queries; [windows].
  std::vector<double> cosine_sums, biased_queries, queries;
  std::vector<float> received;  ///< [N] attention that each token gets: mean over heads and queries t >= 1
};

/// Alpha of the heads of one block, [windows of two tokens or more][heads].
using WindowAlpha = std::vector<std::vector<double>>;
/// Over the heads of some blocks (of the same windows), with standard errors over windows (jackknife); NaN where
/// undefined.
struct SinkRate {
  WindowMean rate;   ///< share of heads with alpha > kSinkAlpha
  WindowMean alpha;  ///< mean alpha
};
SinkRate sink_rate(std::span<const WindowAlpha> blocks);

/// Measures `block`. Mass and bias are over queries t >= first_query (1 or SinkStatistics::kLateQuery) of the windows
/// that have any. Without `w_o` (an empty Weight) the bias is left out. Throws Error when `sinks` does not fit the
/// dump.
BlockSinks measure_block(const DumpReader& dump, const SinkStatistics& sinks, const Weight& w_o,
                         const std::vector<SpikeSet>& sets, int64_t block, int64_t first_query);

}  // namespace spikescope
