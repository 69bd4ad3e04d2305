#include "model/norm.h"

#include <cmath>

#include "model/vectorize.h"

namespace spikescope {
namespace {

SPIKESCOPE_VECTORIZED
void rms_norm_row(const float* x, int64_t d, const float* gain, double eps, float* out) {
  double squares = 0.0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < d; ++i) squares += static_cast<double>(x[i]) * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(d) + eps));
#pragma omp simd
  for (int64_t i = 0; i < d; ++i) out[i] = x[i] * scale * gain[i];
}

}  // namespace

void rms_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, double eps, float* out,
              int64_t out_stride) {
  for (int64_t row = 0; row < rows; ++row) rms_norm_row(x + row * x_stride, d, gain, eps, out + row * out_stride);
}

}  // namespace spikescope
