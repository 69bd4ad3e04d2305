// Normalisation of rows.
#pragma once

#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace spikescope {

/// RMSNorm (arXiv 1910.07467): out = x / sqrt(mean(x^2) + eps) * gain, for rows of d values. The mean is taken in
/// double: a spike's square (5e8) beside ordinary ones would lose them in float32. out may be x.
void rms_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, double eps, float* out,
              int64_t out_stride);
/// Layer norm (arXiv 1607.06450): out = (x - mean) / sqrt(variance + eps) * gain + bias, mean and variance in double.
/// `bias` may be null, out may be x.
void layer_norm(const float* x, int64_t rows, int64_t d, int64_t x_stride, const float* gain, const float* bias,
                double eps, float* out, int64_t out_stride);

/// A norm with its weights.
class Norm {
 public:
  /// Of the architecture's kind. `bias` is the role of its bias, which the model need not have. Throws Error as
  /// ModelWeights::read does.
  void load(const ModelWeights& weights, int layer, Role gain, Role bias);
  /// An RMSNorm, whatever the architecture's other norms are.
  void load_rms(const ModelWeights& weights, int layer, Role gain);
  /// Rows of as many values as there are gains; out may be x.
  void operator()(const float* x, int64_t rows, int64_t x_stride, float* out, int64_t out_stride) const;

  int64_t size() const { return static_cast<int64_t>(gain_.size()); }

 private:
  NormKind kind_ = NormKind::rms;
  double eps_ = 0.0;
  std::vector<float> gain_, bias_;
};

}  // namespace spikescope
