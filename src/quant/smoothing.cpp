#include "quant/smoothing.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"

namespace spikescope {
namespace {

constexpr int64_t kRowsAPiece = 64;
/// Of the largest maximum: what is less counts as that much.
constexpr double kLeastMaximum = 1e-5;

SPIKESCOPE_VECTORIZED
void divide(float* values, const float* scales, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] /= scales[i];
}

SPIKESCOPE_VECTORIZED
void multiply(float* values, const float* scales, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= scales[i];
}

template <class Work>
void for_each_row(const TensorView& rows, const Work& work) {
  const int64_t count = rows.rows(), size = rows.row_size();
  parallel_for((count + kRowsAPiece - 1) / kRowsAPiece, [&](int64_t piece) {
    const int64_t end = std::min(count, (piece + 1) * kRowsAPiece);
    for (int64_t row = piece * kRowsAPiece; row < end; ++row) work(rows.row(row), size);
  });
}

/// The maxima with the least ones raised; all 1 where there is none above 0.
std::vector<double> raised(std::vector<double> maxima) {
  const double most = maxima.empty() ? 0.0 : *std::max_element(maxima.begin(), maxima.end());
  for (double& value : maxima) value = most > 0.0 ? std::max(value, kLeastMaximum * most) : 1.0;
  return maxima;
}

}  // namespace

std::vector<float> smoothing_scales(const ChannelRange& values, std::span<const float> weights, double alpha) {
  if (!(alpha >= 0.0 && alpha <= 1.0)) fail("smoothing by {}: expected a number from 0 to 1", alpha);
  if (values.highest.size() != weights.size())
    fail("ranges of {} channels, but weights of {}", values.highest.size(), weights.size());
  std::vector<double> of_values;
  for (size_t channel = 0; channel < weights.size(); ++channel) of_values.push_back(values.absmax(channel));
  of_values = raised(std::move(of_values));
  const std::vector<double> of_weights = raised({weights.begin(), weights.end()});
  std::vector<float> scales;
  for (size_t channel = 0; channel < weights.size(); ++channel)
    scales.push_back(
        static_cast<float>(std::pow(of_values[channel], alpha) / std::pow(of_weights[channel], 1.0 - alpha)));
  return scales;
}

JointRange joint_range(const ChannelRange& channels, std::span<const float> scales) {
  JointRange range;
  for (size_t channel = 0; channel < channels.highest.size(); ++channel) {
    const float scale = scales.empty() ? 1.0f : scales[channel];
    // As divide_channels() has it, so that no value of the calibration is outside.
    range.low = std::min<double>(range.low, channels.lowest[channel] / scale);
    range.high = std::max<double>(range.high, channels.highest[channel] / scale);
  }
  return range;
}

std::vector<int64_t> outlier_channels(const ChannelRange& channels, double threshold) {
  std::vector<int64_t> outliers;
  for (size_t channel = 0; channel < channels.highest.size(); ++channel)
    if (channels.absmax(channel) > threshold) outliers.push_back(static_cast<int64_t>(channel));
  return outliers;
}

void divide_channels(const TensorView& rows, std::span<const float> scales) {
  for_each_row(rows, [&](float* row, int64_t size) { divide(row, scales.data(), size); });
}

void multiply_channels(const TensorView& rows, std::span<const float> scales) {
  for_each_row(rows, [&](float* row, int64_t size) { multiply(row, scales.data(), size); });
}

}  // namespace spikescope
