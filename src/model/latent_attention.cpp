#include "model/latent_attention.h"

#include <algorithm>

namespace spikescope {

void LatentProjections::load(const ModelWeights& weights, int layer) {
  const bool low_rank = weights.has(Role::w_q_a, layer);
  q_a_ = {};
  if (low_rank) {
    q_a_.load(weights, {{{Role::w_q_a, layer}}}, {{{Role::b_q_a, layer}}});
    q_norm_.load_rms(weights, layer, Role::q_a_norm);
  }
  q_.load(weights, {{{Role::w_q, layer}}});
  kv_a_.load(weights, {{{Role::w_kv_a, layer}}}, {{{Role::b_kv_a, layer}}});
  kv_norm_.load_rms(weights, layer, Role::kv_a_norm);
  kv_b_.load(weights, {{{Role::w_kv_b, layer}}});
}

void LatentProjections::operator()(const Architecture& a, ConstMatrixView x, MatrixView out) const {
  thread_local Buffer low, wide;
  const int64_t rows = x.rows, rank = a.latent.kv_rank, turned = kv_a_.out() - rank, still = a.head_dim - turned;
  const MatrixView q{out.data, rows, a.q_size(), out.stride};
  if (q_a_.out() > 0) {
    low.resize(rows * q_a_.out());
    const MatrixView c{low.data(), rows, q_a_.out(), q_a_.out()};
    q_a_(x, c);
    q_norm_(c.data, rows, c.stride, c.data, c.stride);
    q_(c, q);
  } else {
    q_(x, q);
  }

  low.resize(rows * kv_a_.out());
  wide.resize(rows * kv_b_.out());
  const MatrixView c{low.data(), rows, rank, kv_a_.out()};
  kv_a_(x, {low.data(), rows, kv_a_.out(), kv_a_.out()});
  kv_norm_(c.data, rows, c.stride, c.data, c.stride);
  kv_b_(c, {wide.data(), rows, kv_b_.out(), kv_b_.out()});
  for (int64_t row = 0; row < rows; ++row) {
    const float* shared = low.data() + row * kv_a_.out() + rank;
    float* k = out.data + row * out.stride + a.q_size();
    float* v = k + a.k_size();
    for (int64_t head = 0; head < a.n_heads; ++head) {
      const float* from = wide.data() + row * kv_b_.out() + head * (still + a.v_dim());
      std::copy_n(from, still, k + head * a.head_dim);
      std::copy_n(shared, turned, k + head * a.head_dim + still);
      std::copy_n(from + still, a.v_dim(), v + head * a.v_dim());
    }
  }
}

}  // namespace spikescope
