#include "analyses/projections.h"

#include "model/rows.h"

namespace spikescope {

Projections::Projections(const ModelWeights& weights, int layer) : a_(weights.architecture()) {
  if (a_.latent) {
    latent_.load(weights, layer);
    return;
  }
  qkv_.load(weights, {{{Role::w_q, layer}, {Role::w_k, layer}, {Role::w_v, layer}}},
            {{{Role::b_q, layer}, {Role::b_k, layer}, {Role::b_v, layer}}});
  value_bias_ = weights.read(Role::b_v, layer).values;
  if (a_.qk_norm == QkNorm::none) return;
  q_norm_.load_rms(weights, layer, Role::q_norm);
  k_norm_.load_rms(weights, layer, Role::k_norm);
}

std::vector<float> Projections::operator()(const float* x, int64_t rows) const {
  std::vector<float> out(static_cast<size_t>(rows * row_size()));
  const ConstMatrixView in(x, rows, a_.d_model, a_.d_model);
  const MatrixView all{out.data(), rows, row_size(), row_size()};
  if (a_.latent)
    latent_(a_, in, all);
  else
    qkv_(in, all);
  for (int64_t row = 0; row < rows; ++row) {
    float* values = out.data() + row * row_size() + value(0);
    for (size_t i = 0; i < value_bias_.size(); ++i) values[i] -= value_bias_[i];
  }
  return out;
}

void Projections::limit_and_norm(std::span<float> rows) const {
  const auto count = static_cast<int64_t>(rows.size()) / row_size();
  if (a_.qkv_clip > 0.0) clip_rows(static_cast<float>(a_.qkv_clip), {rows.data(), count, value(0), row_size()});
  if (a_.qk_norm == QkNorm::none) return;
  for (int64_t row = 0; row < count; ++row) {
    float* q = rows.data() + row * row_size();
    float* k = q + key(0);
    q_norm_(q, a_.q_size() / q_norm_.size(), q_norm_.size(), q, q_norm_.size());
    k_norm_(k, a_.k_size() / k_norm_.size(), k_norm_.size(), k, k_norm_.size());
  }
}

}  // namespace spikescope
