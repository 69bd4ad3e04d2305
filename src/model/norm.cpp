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

SPIKESCOPE_VECTORIZED
void layer_norm_row(const float* x, int64_t d, const float* gain, const float* bias, double eps, float* out) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < d; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(d);
  double squares = 0.0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < d; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(d) + eps);
  // The difference in double: beside a spike of 1e5 the mean's rounding would show in all dimensions.
  if (bias) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) out[i] = static_cast<float>((x[i] - mean) * scale) * gain[i] + bias[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) out[i] = static_cast<float>((x[i] - mean) * scale) * gain[i];
  }
}

}  // namespace

void rms_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, double eps, float* out,
              int64_t out_stride) {
  for (int64_t row = 0; row < rows; ++row) rms_norm_row(x + row * x_stride, d, gain, eps, out + row * out_stride);
}

void layer_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, const float* bias,
                double eps, float* out, int64_t out_stride) {
  for (int64_t row = 0; row < rows; ++row)
    layer_norm_row(x + row * x_stride, d, gain, bias, eps, out + row * out_stride);
}

void Norm::load(const ModelWeights& weights, int layer, Role gain, Role bias) {
  load_rms(weights, layer, gain);
  kind_ = weights.architecture().norm;
  bias_ = weights.read(bias, layer).values;
}

void Norm::load_rms(const ModelWeights& weights, int layer, Role gain) {
  kind_ = NormKind::rms;
  eps_ = weights.architecture().norm_eps;
  gain_ = weights.read(gain, layer).values;
  bias_.clear();
  if (weights.architecture().norm_gain_offset)
    for (float& value : gain_) value += 1.0f;
}

void Norm::operator()(const float* x, int64_t rows, int64_t x_stride, float* out, int64_t out_stride) const {
  if (kind_ == NormKind::rms)
    rms_norm(x, rows, size(), x_stride, gain_.data(), eps_, out, out_stride);
  else
    layer_norm(x, rows, size(), x_stride, gain_.data(), bias_.empty() ? nullptr : bias_.data(), eps_, out, out_stride);
}

}  // namespace spikescope
