#include "model/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/parallel.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

SPIKESCOPE_VECTORIZED
void rotate_head(float* x, const float* cosines, const float* sines, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + half] = b * cosines[i] + a * sines[i];
  }
}

SPIKESCOPE_VECTORIZED
void rotate_pairs(float* x, const float* cosines, const float* sines, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace

std::vector<double> rope_frequencies(double theta, int64_t dims) {
  std::vector<double> frequencies(static_cast<size_t>(dims / 2));
  for (size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
  return frequencies;
}

void scale_linear(Rope& rope, double factor) {
  for (double& frequency : rope.frequencies) frequency /= factor;
  rope.scaling = fmt::format("linear x{}", factor);
}

void scale_llama3(Rope& rope, double factor, double low_freq_factor, double high_freq_factor, double original_context) {
  for (double& frequency : rope.frequencies) {
    const double turns = original_context * frequency / (2.0 * std::numbers::pi);
    // 0 below low_freq_factor turns in the original context, 1 above high_freq_factor.
    const double keep = std::clamp((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0.0, 1.0);
    frequency = (1.0 - keep) * frequency / factor + keep * frequency;
  }
  rope.scaling = fmt::format("llama3 x{}", factor);
}

void scale_yarn(Rope& rope, const Yarn& yarn) {
  const double dims = static_cast<double>(rope.dims);
  // Pair that makes `turns` turns within the original context.
  const auto pair_of = [&](double turns) {
    return dims * std::log(yarn.original_context / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(rope.theta));
  };
  const double low = std::max(std::floor(pair_of(yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_of(yarn.beta_slow)), dims - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double interpolate = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    rope.frequencies[i] *= interpolate / yarn.factor + (1.0 - interpolate);
  }
  rope.attention_factor = yarn.attention_factor > 0 ? yarn.attention_factor
                          : yarn.factor > 1         ? 0.1 * std::log(yarn.factor) + 1.0
                                                    : 1.0;
  rope.scaling = fmt::format("yarn x{}", yarn.factor);
}

void scale_longrope(Rope& rope, const std::vector<double>& short_factors, const std::vector<double>& long_factors,
                    double factor, int64_t original_context, double attention_factor) {
  rope.long_frequencies = rope.frequencies;
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    rope.frequencies[i] /= short_factors[i];
    rope.long_frequencies[i] /= long_factors[i];
  }
  rope.short_context = original_context;
  rope.attention_factor = attention_factor > 0.0 ? attention_factor
                          : factor <= 1.0
                              ? 1.0
                              : std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(original_context)));
  rope.scaling = fmt::format("longrope x{}", factor);
}

const std::vector<double>& rope_frequencies(const Rope& rope, int64_t positions) {
  const bool is_long = !rope.long_frequencies.empty() && positions > rope.short_context;
  return is_long ? rope.long_frequencies : rope.frequencies;
}

std::pair<int64_t, int64_t> rope_channels(const Rope& rope, int64_t i) {
  const auto half = static_cast<int64_t>(rope.frequencies.size());
  const int64_t first = rope.first + (rope.interleaved ? 2 * i : i);
  return {first, first + (rope.interleaved ? 1 : half)};
}

RopeTable::RopeTable(const Rope& rope, int64_t positions)
    : first_(rope.first), half_(static_cast<int64_t>(rope.frequencies.size())), interleaved_(rope.interleaved) {
  const std::vector<double>& frequencies = rope_frequencies(rope, positions);
  cosines_.resize(static_cast<size_t>(positions * half_));
  sines_.resize(cosines_.size());
  parallel_for_ranges(positions, 256, [&](int64_t first, int64_t last) {
    for (int64_t position = first; position < last; ++position)
      for (int64_t i = 0; i < half_; ++i) {
        const double angle = static_cast<double>(position) * frequencies[static_cast<size_t>(i)];
        const auto at = static_cast<size_t>(position * half_ + i);
        cosines_[at] = static_cast<float>(std::cos(angle) * rope.attention_factor);
        sines_[at] = static_cast<float>(std::sin(angle) * rope.attention_factor);
      }
  });
}

void RopeTable::rotate(float* data, int64_t rows, int64_t row_stride, int64_t heads, int64_t head_dim,
                       int64_t position) const {
  for (int64_t row = 0; row < rows; ++row) {
    const float* cosines = cosines_.data() + (position + row) * half_;
    const float* sines = sines_.data() + (position + row) * half_;
    for (int64_t head = 0; head < heads; ++head)
      (interleaved_ ? rotate_pairs : rotate_head)(data + row * row_stride + head * head_dim + first_, cosines, sines,
                                                  half_);
  }
}

}  // namespace spikescope
