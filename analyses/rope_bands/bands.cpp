#include "analyses/rope_bands/bands.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

#include "model/rope.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
/// A pair is slow, and in phase, within this angle.
constexpr double kZoneAngle = std::numbers::pi / 4.0;

double ratio(double a, double b) { return b != 0.0 ? a / b : kUndefined; }

std::complex<double> pair_of(const Rope& rope, int64_t i, std::span<const double> x) {
  const auto [first, second] = rope_channels(rope, i);
  return {x[static_cast<size_t>(first)], x[static_cast<size_t>(second)]};
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

Turning::Turning(const Rope& rope, std::vector<double> frequencies, int64_t dmax)
    : rope_(rope), frequencies_(std::move(frequencies)), dmax_(dmax) {
  mean_turns_.resize(frequencies_.size());
  turns_.reserve(static_cast<size_t>((dmax + 1) * pairs()));
  for (int64_t distance = 0; distance <= dmax; ++distance)
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      turns_.push_back(std::polar(1.0, frequencies_[i] * static_cast<double>(distance)));
      mean_turns_[i] += turns_.back() / static_cast<double>(dmax + 1);
    }
}

bool Turning::stable(int64_t i) const {
  return frequencies_[static_cast<size_t>(i)] * static_cast<double>(dmax_) <= kZoneAngle;
}

std::vector<std::complex<double>> Turning::products(std::span<const double> q, std::span<const double> k) const {
  std::vector<std::complex<double>> products;
  const double factor = rope_.attention_factor * rope_.attention_factor;  // queries and keys have it
  for (int64_t i = 0; i < pairs(); ++i)
    products.push_back(factor * pair_of(rope_, i, q) * std::conj(pair_of(rope_, i, k)));
  return products;
}

double Turning::still(std::span<const double> q, std::span<const double> k) const {
  double sum = dot(q, k);
  for (int64_t i = 0; i < pairs(); ++i) sum -= (pair_of(rope_, i, q) * std::conj(pair_of(rope_, i, k))).real();
  return sum;
}

std::vector<double> Turning::energies(std::span<const double> x) const {
  std::vector<double> energies;
  for (int64_t i = 0; i < pairs(); ++i) energies.push_back(std::norm(pair_of(rope_, i, x)));
  return energies;
}

std::vector<double> Turning::by_distance(std::span<const std::complex<double>> products) const {
  std::vector<double> sums;
  sums.reserve(static_cast<size_t>(dmax_ + 1));
  for (const std::complex<double>* turn = turns_.data(); turn != turns_.data() + turns_.size();) {
    double sum = 0.0;
    for (const std::complex<double>& product : products) {
      sum += product.real() * turn->real() - product.imag() * turn->imag();
      ++turn;
    }
    sums.push_back(sum);
  }
  return sums;
}

KeyBands measure_bands(const Turning& turning, std::span<const double> q, std::span<const double> k) {
  KeyBands bands;
  const std::vector<std::complex<double>> products = turning.products(q, k);
  const double still = turning.still(q, k);
  bands.logit = turning.by_distance(products);
  Moments logits;
  for (double& logit : bands.logit) {
    logit += still;
    logits.add(logit);
  }
  bands.logit_mean = logits.mean();
  bands.sigma =
      logits.count() > 1
          ? std::sqrt(logits.variance() * static_cast<double>(logits.count() - 1) / static_cast<double>(logits.count()))
          : 0.0;
  bands.logit_unturned = dot(q, k);

  double all = 0.0, in_zone = 0.0, zone_logit = 0.0, pairs_in_zone = 0.0;
  double amplitudes[2] = {}, in_phase[2] = {};  // of unstable pairs, of stable ones
  for (int64_t i = 0; i < turning.pairs(); ++i) {
    const std::complex<double> product = products[static_cast<size_t>(i)];
    const double amplitude = std::abs(product), phase = amplitude > 0.0 ? std::arg(product) : kUndefined,
                 turned = phase + turning.frequencies()[static_cast<size_t>(i)] * static_cast<double>(turning.dmax());
    // The angle grows with D, so its ends tell; they are false for a phase that is undefined.
    const bool zone = std::abs(phase) <= kZoneAngle && turned <= kZoneAngle;
    bands.amplitude.push_back(amplitude);
    bands.phase.push_back(phase);
    bands.zone.push_back(zone);
    all += amplitude;
    amplitudes[turning.stable(i)] += amplitude;
    in_phase[turning.stable(i)] += product.real();
    if (!zone) continue;
    in_zone += amplitude;
    zone_logit += (product * turning.mean_turn(i)).real();
    ++pairs_in_zone;
  }
  bands.coherence_stable = ratio(in_phase[true], amplitudes[true]);
  bands.coherence_unstable = ratio(in_phase[false], amplitudes[false]);
  bands.zone_share = ratio(in_zone, all);
  bands.zone_pairs = all > 0.0 ? pairs_in_zone / static_cast<double>(turning.pairs()) : kUndefined;
  bands.zone_logit_share = ratio(zone_logit, bands.logit_mean);
  return bands;
}

}  // namespace spikescope
