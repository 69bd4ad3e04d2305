#include "stats/spike_rule.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/fail.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

constexpr double kLeastGap = 0.2;  // decades

}  // namespace

SpikeTokens find_spike_tokens(std::span<const double> norms) {
  for (size_t token = 0; token < norms.size(); ++token) {
    if (!std::isfinite(norms[token]))
      fail("spike rule: the norm of token {} is {}; norms must be finite", token, norms[token]);
  }
  SpikeTokens result;
  const size_t n = norms.size();
  if (n < 2) return result;
  const double median = lower_median({norms.begin(), norms.end()});
  if (!(median > 0.0)) return result;

  // Only the K largest and the one after them matter. They are at least the median, so their logarithms exist.
  const size_t largest = std::min((n + 9) / 10, n - 1);
  std::vector<double> sorted(norms.begin(), norms.end());
  std::partial_sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(largest) + 1, sorted.end(),
                    std::greater<>());
  size_t above = 0;
  for (size_t i = 0; i < largest; ++i) {
    const double gap = std::log10(sorted[i] / sorted[i + 1]);
    if (gap > result.gap) {
      result.gap = gap;
      above = i;
    }
  }
  if (result.gap < kLeastGap) return result;

  const double threshold = std::sqrt(sorted[above]) * std::sqrt(sorted[above + 1]);
  result.threshold = threshold / median;
  for (size_t token = 0; token < n; ++token) {
    if (norms[token] > threshold) result.tokens.push_back(static_cast<int64_t>(token));
  }
  return result;
}

std::vector<double> row_norms(const float* data, int64_t rows, int64_t d, int64_t row_stride) {
  std::vector<double> norms(static_cast<size_t>(rows));
#pragma omp parallel for schedule(dynamic, 64) if (rows * d > 65536)
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = data + row * row_stride;
    double sums[4] = {};  // independent sums: one alone would wait for each addition before the next
    int64_t i = 0;
    for (; i + 4 <= d; i += 4) {
      for (int lane = 0; lane < 4; ++lane) {
        const double value = values[i + lane];
        sums[lane] += value * value;
      }
    }
    for (; i < d; ++i) sums[0] += static_cast<double>(values[i]) * values[i];
    norms[static_cast<size_t>(row)] = std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
  return norms;
}

}  // namespace spikescope
