// What is done to single channels before they are quantized: SmoothQuant (arXiv 2211.10438) divides each one by a scale
// that its weights are multiplied by, LLM.int8 (arXiv 2208.07339) leaves those with outliers in floating point.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor_view.h"
#include "quant/channel_ranges.h"

namespace spikescope {

/// How much of the difficulty goes from activations to weights; SmoothQuant's own choice for most models.
inline constexpr double kMigration = 0.5;
/// LLM.int8's threshold of an outlier.
inline constexpr double kOutlierThreshold = 6.0;

/// [width] s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), `weights` [width] being max|W_j|. Maxima below 1e-5 of the
/// largest one of their kind count as that much, so that no scale is 0 or infinite; 1 where all of a kind are 0. Throws
/// Error for ranges and weights of different widths, and for an alpha outside [0, 1].
std::vector<float> smoothing_scales(const ChannelRange& values, std::span<const float> weights, double alpha);

/// The least and the largest value of all channels, each divided by its scale; of all of them as they are without
/// scales. Low is never above 0, high never below.
struct JointRange {
  double low = 0.0, high = 0.0;
  double absmax() const { return high > -low ? high : -low; }
};
JointRange joint_range(const ChannelRange& channels, std::span<const float> scales);

/// Channels whose largest |x| exceeds the threshold, ascending.
std::vector<int64_t> outlier_channels(const ChannelRange& channels, double threshold);

/// Every value over, or times, its channel's scale; in place, on all threads.
void divide_channels(const TensorView& rows, std::span<const float> scales);
void multiply_channels(const TensorView& rows, std::span<const float> scales);

}  // namespace spikescope
