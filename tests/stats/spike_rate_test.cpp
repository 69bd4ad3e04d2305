// How often the automatic spike rule is wrong, and how often it finds what is there, in simulated windows. The figures
// that it prints are those of analyses/spikes/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include "stats/spike_rule.h"

namespace spikescope {
namespace {

using Random = std::mt19937_64;

double normal(Random& random) { return std::normal_distribution<double>()(random); }
double exponential(Random& random) { return std::exponential_distribution<double>()(random); }
double uniform(Random& random) { return std::uniform_real_distribution<double>()(random); }
/// Length of d normal entries.
double chi(Random& random, double d) { return std::sqrt(2.0 * std::gamma_distribution<double>(d / 2.0)(random)); }

/// What ordinary norms may be like.
struct Norms {
  const char* name;
  bool rising;  ///< hazard rate: there the stated rate is an upper bound
  double (*draw)(Random& random);
};
const Norms kNorms[] = {
    {"exponential", true, exponential},
    {"1 + exponential", true, [](Random& r) { return 1.0 + exponential(r); }},
    {"chi, 4 entries", true, [](Random& r) { return chi(r, 4.0); }},
    {"chi, 576 entries", true, [](Random& r) { return chi(r, 576.0); }},
    {"uniform", true, uniform},
    {"lognormal, sigma 0.1", false, [](Random& r) { return std::exp(0.1 * normal(r)); }},
    {"lognormal, sigma 0.2", false, [](Random& r) { return std::exp(0.2 * normal(r)); }},
    {"lognormal, sigma 0.3", false, [](Random& r) { return std::exp(0.3 * normal(r)); }},
    {"lognormal, sigma 0.5", false, [](Random& r) { return std::exp(0.5 * normal(r)); }},
    {"lognormal, sigma 1", false, [](Random& r) { return std::exp(normal(r)); }},
    {"exp(0.2 exponential)", false, [](Random& r) { return std::exp(0.2 * exponential(r)); }},
    {"exp(0.2 Student t, 5)", false, [](Random& r) { return std::exp(0.2 * normal(r) * std::sqrt(5.0) / chi(r, 5.0)); }},
    {"exp(0.2 Student t, 3)", false, [](Random& r) { return std::exp(0.2 * normal(r) * std::sqrt(3.0) / chi(r, 3.0)); }},
    {"|Student t, 3|", false, [](Random& r) { return std::abs(normal(r)) * std::sqrt(3.0) / chi(r, 3.0); }},
};
/// Where the rate is stated, and (for comparison) where it is not.
constexpr int kWindows = 20000, kHeavyWindows = 2000;
constexpr int kLengths[] = {9, 32, 256};

/// How many windows of n norms have a p-value of at most each of the levels.
std::vector<int> found_at(const Norms& norms, int n, int windows, const std::vector<double>& levels) {
  Random random(1);
  std::vector<int> found(levels.size());
  std::vector<double> window(static_cast<size_t>(n));
  for (int w = 0; w < windows; ++w) {
    for (double& norm : window) norm = norms.draw(random);
    const SpikeTokens spikes = find_spike_tokens(window);
    EXPECT_EQ(spikes.tokens.empty(), spikes.p_value > kFalsePositiveRate);
    for (size_t i = 0; i < levels.size(); ++i) found[i] += spikes.p_value <= levels[i];
  }
  return found;
}

/// Four standard errors of a count whose mean is this.
double margin(double mean) { return 4.0 * std::sqrt(mean); }

TEST(SpikeRate, IsExactForExponentialNorms) {
  const std::vector<double> levels = {1e-3, 1e-2, 5e-2};
  for (const int n : kLengths) {
    const std::vector<int> found = found_at(kNorms[0], n, kWindows, levels);
    for (size_t i = 0; i < levels.size(); ++i) {
      double none = 1.0, weights = 0.0;  // the chance that no gap is significant: they are independent
      for (int place = 1; place <= (n + 9) / 10; ++place) weights += 1.0 / (place * place);
      for (int place = 1; place <= (n + 9) / 10; ++place) none *= 1.0 - levels[i] / (weights * place * place);
      const double expected = kWindows * (1.0 - none);
      EXPECT_LE(expected, kWindows * levels[i] * (1.0 + 1e-9));
      EXPECT_NEAR(found[i], expected, margin(expected)) << n << " tokens, level " << levels[i];
    }
  }
}

TEST(SpikeRate, IsABoundWhereTheHazardRateRises) {
  std::printf("windows per 1,000 in which norms without spikes give some, by tokens of a window (9, 32, 256)\n");
  const double stated = kWindows * kFalsePositiveRate;
  for (const Norms& norms : kNorms) {
    std::printf("  %-22s", norms.name);
    for (const int n : kLengths) {
      const int windows = norms.rising ? kWindows : kHeavyWindows;
      const int found = found_at(norms, n, windows, {kFalsePositiveRate})[0];
      std::printf(" %7.2f", 1000.0 * found / windows);
      if (norms.rising) {
        EXPECT_LE(found, stated + margin(stated)) << norms.name << ", " << n << " tokens";
      }
    }
    std::printf("\n");
  }
}

TEST(SpikeRate, FindsWhatIsThere) {
  // Log norms with a standard deviation of 0.2; spikes at so many times the median.
  std::printf("share of windows in which all spikes are found and nothing else\n");
  for (const auto& [n, spikes] : {std::pair(9, 1), {32, 1}, {256, 1}, {256, 5}, {256, 20}}) {
    std::printf("  %3d tokens, %2d of them spikes:", n, spikes);
    for (const double factor : {2.0, 3.0, 5.0, 10.0, 100.0}) {
      Random random(3);
      int found = 0;
      constexpr int kTrials = 500;
      for (int w = 0; w < kTrials; ++w) {
        std::vector<double> window(static_cast<size_t>(n));
        for (double& norm : window) norm = std::exp(0.2 * normal(random));
        for (int k = 0; k < spikes; ++k) window[static_cast<size_t>(k)] = factor * std::exp(0.1 * normal(random));
        const std::vector<int64_t> tokens = find_spike_tokens(window).tokens;
        found += static_cast<int>(tokens.size()) == spikes && tokens.back() == spikes - 1;
      }
      std::printf("  %gx %.3f", factor, static_cast<double>(found) / kTrials);
      if (factor >= 10.0 || (factor >= 5.0 && n >= 256)) {
        EXPECT_GE(found, 0.95 * kTrials) << n << " " << spikes << " " << factor;
      }
    }
    std::printf("\n");
  }
}

}  // namespace
}  // namespace spikescope
