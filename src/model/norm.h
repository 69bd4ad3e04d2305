// Normalisation of the residual stream's rows.
#pragma once

#include <cstdint>

namespace spikescope {

/// RMSNorm (arXiv 1910.07467): out = x / sqrt(mean(x^2) + eps) * gain, for rows of d values. The mean is taken in
/// double: a spike's square (5e8) beside ordinary ones would lose them in float32. out may be x.
void rms_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, double eps, float* out,
              int64_t out_stride);

}  // namespace spikescope
