// What is known of the single channels of a site: the values that they had, and the weights that they are multiplied
// by.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "hooks/hooks.h"
#include "model/weights.h"
#include "quant/sites.h"

namespace spikescope {

/// Least and largest value of each channel, [width]; empty: the block has no such site.
struct ChannelRange {
  std::vector<float> lowest;   ///< never above 0
  std::vector<float> highest;  ///< never below 0

  float absmax(size_t channel) const;
};

/// Takes the ranges of a site's channels from the pieces in which a pass reports it.
class ChannelStatistics {
 public:
  explicit ChannelStatistics(int threads) : ordinary_(static_cast<size_t>(threads)) {}

  /// `spikes`: whether each token is a spike token.
  void add(const Activation& at, const std::vector<uint8_t>& spikes);
  /// Of ordinary tokens, and of all; begins anew.
  std::pair<ChannelRange, ChannelRange> take();

 private:
  std::vector<ChannelRange> ordinary_;  // a thread each
  ChannelRange of_spikes_;
};

/// [width] for each channel the largest |W_ij| over the rows i of all matrices of the block that read the site: biases
/// and norms count as none of these.
std::vector<float> reading_maxima(const ModelWeights& weights, Site site, int layer);

}  // namespace spikescope
