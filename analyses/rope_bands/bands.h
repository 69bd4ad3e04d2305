// Logits by RoPE pair: how a query's product with a key splits over the pairs of channels that rotary positions turn
// (arXiv 2104.09864), and how it changes with their distance (the claim of arXiv 2606.02288).
//
// With z = x_a + j x_b of the channels (a, b) of pair i and D the query's position minus the key's:
//   q.R(D)k = still + sum_i Re(zq_i conj(zk_i) e^{j theta_i D}) = still + sum_i A_i cos(phi_i + theta_i D)
#pragma once

#include <complex>
#include <cstdint>
#include <span>
#include <vector>

#include "model/architecture.h"

namespace spikescope {

/// How positions turn a head's channels, over the distances 0 .. dmax.
class Turning {
 public:
  /// `frequencies`: those of `rope` that are in use (rope_frequencies()). dmax >= 0.
  Turning(const Rope& rope, std::vector<double> frequencies, int64_t dmax);

  int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }
  int64_t dmax() const { return dmax_; }
  const std::vector<double>& frequencies() const { return frequencies_; }  ///< theta_i, radians a position
  /// Whether pair i turns by at most pi/4 in all: theta_i dmax <= pi/4.
  bool stable(int64_t i) const;
  /// zq_i conj(zk_i) of each pair of a head's q and k [head_dim], times what scaling puts on cos and sin.
  std::vector<std::complex<double>> products(std::span<const double> q, std::span<const double> k) const;
  /// What channels that do not turn give to q.k.
  double still(std::span<const double> q, std::span<const double> k) const;
  /// |z_i|^2 of each pair of a head's q or k.
  std::vector<double> energies(std::span<const double> x) const;
  /// sum_i Re(products[i] e^{j theta_i D}) for D = 0 .. dmax.
  std::vector<double> by_distance(std::span<const std::complex<double>> products) const;
  /// Mean of e^{j theta_i D} over the distances.
  std::complex<double> mean_turn(int64_t i) const { return mean_turns_[static_cast<size_t>(i)]; }

 private:
  Rope rope_;
  std::vector<double> frequencies_;
  int64_t dmax_;
  std::vector<std::complex<double>> turns_;       // [dmax + 1, pairs]: e^{j theta_i D}
  std::vector<std::complex<double>> mean_turns_;  // [pairs]
};

/// A query against a key. NaN where undefined: where q or k is, or all A_i that a share refers to are 0.
struct KeyBands {
  std::vector<double> amplitude;    ///< [pairs] A_i
  std::vector<double> phase;        ///< [pairs] phi_i, -pi .. pi; NaN where A_i = 0
  std::vector<bool> zone;           ///< [pairs]: A_i > 0 and cos(phi_i + theta_i D) >= cos(pi/4) for all D in [0, dmax]
  std::vector<double> logit;        ///< [dmax + 1] by distance
  double logit_mean = 0.0;          ///< over the distances
  double sigma = 0.0;               ///< standard deviation over the distances
  double logit_unturned = 0.0;      ///< q.k: the logit at any distance without RoPE
  double coherence_stable = 0.0;    ///< sum A cos(phi) / sum A of the stable pairs, -1 .. 1
  double coherence_unstable = 0.0;  ///< of the others
  double zone_share = 0.0;          ///< share of sum A in the zone, 0 .. 1
  double zone_pairs = 0.0;          ///< share of the pairs in the zone, 0 .. 1
  double zone_logit_share = 0.0;    ///< mean over the distances of what the zone gives to the logit, over logit_mean
};

/// `q` [head_dim], with the attention scale on it, and `k` [head_dim], both before positions.
KeyBands measure_bands(const Turning& turning, std::span<const double> q, std::span<const double> k);

}  // namespace spikescope
