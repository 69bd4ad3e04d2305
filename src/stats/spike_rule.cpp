#include "stats/spike_rule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"

namespace spikescope {
namespace {

/// Spacings that the reference has at least, where the window has so many tokens. A p-value of 1e-3 takes a gap of 27
/// mean spacings with 3 spacings below it, of 12 with 7, of 9 with 15, of 7 with infinitely many; and the lower half of
/// a window has wider ones.
constexpr size_t kLeastSpacings = 8;

/// (below / (below + spacing))^count: the chance of a spacing at least so large before `count` others with that sum.
double spacing_p_value(double spacing, double below, size_t count) {
  return spacing > 0.0 ? std::pow(below / (below + spacing), static_cast<double>(count)) : 1.0;
}

/// In as many sums as two vectors of the widest processors have, which stay the same sums on all others.
SPIKESCOPE_VECTORIZED
double sum_of_squares(const float* values, int64_t count) {
  constexpr int64_t kLanes = 16;
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;
    }
  for (; i < count; ++i) sums[i % kLanes] += static_cast<double>(values[i]) * values[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

}  // namespace

SpikeTokens find_spike_tokens(std::span<const double> norms) {
  for (size_t token = 0; token < norms.size(); ++token) {
    if (!std::isfinite(norms[token]))
      fail("spike rule: the norm of token {} is {}; norms must be finite", token, norms[token]);
  }
  SpikeTokens result;
  const size_t n = norms.size();
  if (n < 3) return result;
  std::vector<double> sorted(norms.begin(), norms.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double median = sorted[n / 2];
  if (!(median > 0.0)) return result;
  for (double& value : sorted) value /= median;

  const size_t reference = std::max(n / 2, std::min(n - 1, kLeastSpacings)), largest = (n + 9) / 10;
  double below = 0.0;
  for (size_t i = reference; i > largest; --i) below += static_cast<double>(i) * (sorted[i - 1] - sorted[i]);
  size_t above = 0;  // tokens above the gap chosen
  double smallest = 1.0;
  double weights = 0.0;
  for (size_t i = 1; i <= largest; ++i) weights += 1.0 / static_cast<double>(i * i);
  for (size_t i = largest; i > 0; --i) {
    const double gap = sorted[i - 1] - sorted[i];
    const double spacing =
        gap > std::numeric_limits<float>::epsilon() * sorted[i - 1] ? static_cast<double>(i) * gap : 0.0;
    const double places = weights * static_cast<double>(i * i);
    const double p_value = std::min(1.0, places * spacing_p_value(spacing, below, reference - i));
    smallest = std::min(smallest, p_value);
    const double width = std::log10(sorted[i - 1] / sorted[i]);
    if (p_value <= kFalsePositiveRate && width > result.gap) {
      above = i;
      result.gap = width;
      result.p_value = p_value;
    }
    below += spacing;
  }
  if (above == 0) {
    result.p_value = smallest;
    return result;
  }
  result.threshold = std::sqrt(sorted[above - 1] * sorted[above]);
  for (size_t token = 0; token < n; ++token) {
    if (norms[token] / median > result.threshold) result.tokens.push_back(static_cast<int64_t>(token));
  }
  return result;
}

std::vector<double> row_norms(const float* data, int64_t rows, int64_t d, int64_t row_stride) {
  constexpr int64_t kValuesAPiece = 1 << 16;
  std::vector<double> norms(static_cast<size_t>(rows));
  const int64_t piece = std::max<int64_t>(1, kValuesAPiece / std::max<int64_t>(1, d));
  parallel_for_ranges(rows, piece, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      norms[static_cast<size_t>(row)] = std::sqrt(sum_of_squares(data + row * row_stride, d));
  });
  return norms;
}

}  // namespace spikescope
