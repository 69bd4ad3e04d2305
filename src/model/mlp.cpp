#include "model/mlp.h"

#include <array>
#include <cmath>

#include "model/vectorize.h"

namespace spikescope {
namespace {

/// The exponential saturates at e^88; x / (1 + e^88) is 0 in all but the last digits of what float32 can hold.
inline float times_sigmoid(float x, float y) { return x / (1.0f + exponential(-y)); }

inline float silu(float x) { return times_sigmoid(x, x); }
inline float quick_gelu(float x) { return times_sigmoid(x, 1.702f * x); }
/// 1 + tanh(u) = 2 sigmoid(2 u).
inline float gelu_tanh(float x) { return times_sigmoid(x, 1.59576912160573f * (x + 0.044715f * x * x * x)); }
inline float relu(float x) { return std::max(x, 0.0f); }

/// x Phi(x), with erfc(z) = e^(-z^2) t P(t), t = 1 / (1 + 0.3 z): P is the polynomial with the least relative error
/// (2.5e-8) for 0 <= z <= 14.
inline float gelu(float x) {
  const float z = std::abs(x) * 0.70710678118654752f;
  const float t = 1.0f / (1.0f + 0.3f * z);
  float p = -0.12712288f;
  p = p * t + 0.47438765f;
  p = p * t - 0.49017927f;
  p = p * t + 0.5235227f;
  p = p * t - 0.07862917f;
  p = p * t + 0.20836665f;
  p = p * t + 0.14995885f;
  p = p * t + 0.1704949f;
  p = p * t + 0.16920064f;
  const float tail = 0.5f * t * p * exponential(-z * z);
  return x * (x < 0.0f ? tail : 1.0f - tail);
}

/// One function for rows with a gate, one for rows without.
struct RowFunctions {
  void (*gated)(const float* gate, const float* up, int64_t width, float* post);
  void (*plain)(const float* pre, int64_t width, float* post);
};

#define SPIKESCOPE_ROW_FUNCTIONS(activation)                                                                      \
  SPIKESCOPE_VECTORIZED void activation##_gated(const float* gate, const float* up, int64_t width, float* post) { \
    _Pragma("omp simd") for (int64_t i = 0; i < width; ++i) post[i] = activation(gate[i]) * up[i];                \
  }                                                                                                               \
  SPIKESCOPE_VECTORIZED void activation##_plain(const float* pre, int64_t width, float* post) {                   \
    _Pragma("omp simd") for (int64_t i = 0; i < width; ++i) post[i] = activation(pre[i]);                         \
  }
SPIKESCOPE_ROW_FUNCTIONS(silu)
SPIKESCOPE_ROW_FUNCTIONS(gelu)
SPIKESCOPE_ROW_FUNCTIONS(gelu_tanh)
SPIKESCOPE_ROW_FUNCTIONS(quick_gelu)
SPIKESCOPE_ROW_FUNCTIONS(relu)
#undef SPIKESCOPE_ROW_FUNCTIONS

// Indexed by Activator.
constexpr std::array kRowFunctions = {
    RowFunctions{silu_gated, silu_plain},           RowFunctions{gelu_gated, gelu_plain},
    RowFunctions{gelu_tanh_gated, gelu_tanh_plain}, RowFunctions{quick_gelu_gated, quick_gelu_plain},
    RowFunctions{relu_gated, relu_plain},
};
static_assert(kRowFunctions.size() == static_cast<size_t>(Activator::relu) + 1);

SPIKESCOPE_VECTORIZED
void soft_cap_row(float* x, int64_t count, float c, float twice_inverse) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = c - 2.0f * c / (1.0f + exponential(twice_inverse * x[i]));
}

}  // namespace

void gated_activation(Activator activation, const float* gate, const float* up, int64_t rows, int64_t width,
                      int64_t gate_stride, int64_t up_stride, float* post, int64_t post_stride) {
  const auto function = kRowFunctions[static_cast<size_t>(activation)].gated;
  for (int64_t row = 0; row < rows; ++row)
    function(gate + row * gate_stride, up + row * up_stride, width, post + row * post_stride);
}

void plain_activation(Activator activation, const float* pre, int64_t rows, int64_t width, int64_t pre_stride,
                      float* post, int64_t post_stride) {
  const auto function = kRowFunctions[static_cast<size_t>(activation)].plain;
  for (int64_t row = 0; row < rows; ++row) function(pre + row * pre_stride, width, post + row * post_stride);
}

void soft_cap(float* x, int64_t count, double c) {
  soft_cap_row(x, count, static_cast<float>(c), static_cast<float>(2.0 / c));
}

}  // namespace spikescope
