// Channels of a site brought into balance with the matrices that read it, so that one scale serves all of them: means
// are taken off, and channels multiplied with what their weights are divided by. A bias and the weights take both.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hooks/hooks.h"
#include "model/weights.h"
#include "quant/sites.h"

namespace spikescope {

/// x' = factors * (x - means), channel by channel; empty: the block has no such site, or nothing is to be done.
struct ChannelBalance {
  std::vector<float> means;    ///< [width]
  std::vector<float> factors;  ///< [width], > 0

  bool empty() const { return factors.empty(); }
};

/// Means and variances of a site's channels, in double, summed up token by token: the same on any number of threads.
class ChannelMoments {
 public:
  /// `left_out`: whether each token does not count.
  void add(const Activation& at, const std::vector<uint8_t>& left_out);
  int64_t rows() const { return rows_; }
  /// [width]; empty without rows.
  std::vector<double> means() const;
  std::vector<double> deviations() const;
  void clear() { *this = ChannelMoments(); }

 private:
  std::vector<double> sums_, squares_;  // [width]
  int64_t rows_ = 0;
};

/// [width] for each channel sqrt(sum of W_ij^2) over the rows i of the block's matrices that read the site. Empty where
/// such a matrix belongs to an expert, which is not looked into, or reads the site through another one's channels.
std::vector<double> reading_norms(const ModelWeights& weights, Site site, int layer);

/// How much a squared error of each channel counts in the outputs of the matrices that read the site: n_j^2 over their
/// mean (n: reading_norms()), in 1/1024, at least 1, whole so that sums of them do not depend on their order. Empty
/// without norms, or where all are 0.
std::vector<uint32_t> channel_weights(const std::vector<double>& norms);

/// What loses least when the channels, turned by a rotation, share one step. The error of each turned channel is then
/// the same share of sum f_j^2 s_j^2 (s: deviations, f: factors), and in the outputs it counts with the weights' sum
/// n_j^2 / f_j^2 (n: norms): the product of the two sums is least for f_j^2 = n_j / s_j (Cauchy-Schwarz), where it is
/// (sum s_j n_j)^2. Factors are such that sum f_j^2 s_j^2 = sum s_j^2. Deviations and norms below a hundredth of their
/// root mean square count as that much. Without norms (empty) all factors are 1. Throws Error for sizes that differ.
ChannelBalance balance_of(const std::vector<double>& means, const std::vector<double>& deviations,
                          const std::vector<double>& norms);

}  // namespace spikescope
