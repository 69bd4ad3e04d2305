// The rules that say which tokens of a window are spikes. Pure statistics: they see norms and magnitudes, no model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spikescope {

/// Share of windows without spikes in which the automatic rule finds one nevertheless, at most (see below).
inline constexpr double kFalsePositiveRate = 1e-3;

/// Automatic rule: are some of the longest tokens of a window too long for the upper tail of the others?
/// `norms`: Euclidean norm of each token's residual state in one window [T].
///
/// With norms x_1 >= x_2 >= ... and normalised spacings D_j = j (x_j - x_(j+1)), the gap below the i-th longest token
/// has the p-value (sum_(i<j<=m) D_j / sum_(i<=j<=m) D_j)^(m-i). Where norms have an exponential upper tail, spacings
/// are independent and exponential (Renyi 1953), and these p-values independent and uniform whatever the scale; where
/// the hazard rate of the norms rises (normal, chi, gamma, uniform, ...) they are larger. The scale comes from the
/// spacings below the gap alone, so spikes do not hide one another. The reference goes down to the median,
/// m = T / 2, in windows of fewer than 16 tokens down to the ninth longest or the shortest token.
///
/// Looks at the gaps below the K = ceil(T / 10) longest tokens, that at i at a level in proportion to 1 / i^2,
/// since few spikes are likelier than many; the K levels add up to kFalsePositiveRate.
/// Of the gaps that are significant the widest in log10 parts spikes from ordinary tokens.
///
/// A window of fewer than three tokens, or one whose lower median is 0, has nothing to compare with and yields none.
/// Gaps within float32 rounding of a norm are none. Throws Error for a norm that is not finite.
struct SpikeTokens {
  std::vector<int64_t> tokens;  ///< ascending
  double threshold = 0.0;       ///< on norm / median: (geometric) middle of the gap; 0 without spikes
  double gap = 0.0;             ///< width of that gap, decades; 0 without spikes
  /// p-value of the window, corrected for the K gaps: of the gap chosen, else the smallest. 1 where nothing can be said.
  double p_value = 1.0;
};
SpikeTokens find_spike_tokens(std::span<const double> norms);

/// Euclidean norms of the rows of [rows, d], accumulated in double. A row with a value that is not finite gives a norm
/// that is not.
std::vector<double> row_norms(const float* data, int64_t rows, int64_t d, int64_t row_stride);

}  // namespace spikescope
