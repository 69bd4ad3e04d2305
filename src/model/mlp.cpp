#include "model/mlp.h"

#include <array>
#include <cmath>

#include "model/vectorize.h"

namespace spikescope {
namespace {

using RowFunction = void (*)(const float* gate, const float* up, int64_t width, float* post);

SPIKESCOPE_VECTORIZED
void silu_row(const float* gate, const float* up, int64_t width, float* post) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    // The exponential saturates at e^88; x / (1 + e^88) is 0 in all but the last digits of what float32 can hold.
    const float x = gate[i];
    post[i] = x / (1.0f + exponential(-x)) * up[i];
  }
}

void gelu_row(const float* gate, const float* up, int64_t width, float* post) {
  for (int64_t i = 0; i < width; ++i)
    post[i] = 0.5f * gate[i] * (1.0f + std::erf(gate[i] * 0.70710678118654752f)) * up[i];
}

void gelu_tanh_row(const float* gate, const float* up, int64_t width, float* post) {
  for (int64_t i = 0; i < width; ++i) {
    const float x = gate[i];
    post[i] = 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x))) * up[i];
  }
}

void relu_row(const float* gate, const float* up, int64_t width, float* post) {
  for (int64_t i = 0; i < width; ++i) post[i] = std::max(gate[i], 0.0f) * up[i];
}

// Indexed by Activator.
constexpr std::array<RowFunction, 4> kRowFunctions = {silu_row, gelu_row, gelu_tanh_row, relu_row};

}  // namespace

void gated_activation(Activator activation, const float* gate, const float* up, int64_t rows, int64_t width,
                      int64_t gate_stride, int64_t up_stride, float* post, int64_t post_stride) {
  const RowFunction function = kRowFunctions[static_cast<size_t>(activation)];
  for (int64_t row = 0; row < rows; ++row)
    function(gate + row * gate_stride, up + row * up_stride, width, post + row * post_stride);
}

}  // namespace spikescope
