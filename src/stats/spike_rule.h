// The rules that say which tokens of a window are spikes. Pure statistics: they see norms and magnitudes, no model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spikescope {

/// Automatic rule. `norms`: Euclidean norm of each token's residual state in one window [T]. With
/// nu_t = norm_t / median(norm) (lower median), sorts the nu, looks among the K = ceil(0.1 T) largest for the largest
/// gap in log10 to the next smaller one, and when it is at least 0.2 decades (a factor of 1.58) calls all tokens above
/// its middle spikes. Returns their indices, ascending; also the threshold on nu (0 when there are none).
///
/// A window of one token, or one whose median norm is 0, has nothing to compare with and yields none. Throws Error for
/// a norm that is not finite.
struct SpikeTokens {
  std::vector<int64_t> tokens;
  double threshold = 0.0;  ///< on nu: (geometric) middle of the gap
  double gap = 0.0;        ///< width of the largest gap, decades
};
SpikeTokens find_spike_tokens(std::span<const double> norms);

/// Euclidean norms of the rows of [rows, d], accumulated in double. A row with a value that is not finite gives a norm
/// that is not.
std::vector<double> row_norms(const float* data, int64_t rows, int64_t d, int64_t row_stride);

}  // namespace spikescope
