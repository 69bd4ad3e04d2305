#include "analyses/null_space/matrices.h"

#include <algorithm>
#include <utility>

namespace spikescope {
namespace {

/// Channels of a head that turn, and that do not.
int64_t turned(const ModelWeights& weights) {
  return weights.shape(Role::w_kv_a).first - weights.architecture().latent.kv_rank;
}
int64_t still(const ModelWeights& weights) { return weights.architecture().head_dim - turned(weights); }

/// `run` rows of `columns` from every `stride` rows on, from row `first` on.
std::vector<float> rows_of(const Weight& weight, int64_t first, int64_t run, int64_t stride) {
  std::vector<float> rows;
  for (int64_t row = first; row < weight.rows; row += stride)
    rows.insert(rows.end(), weight.values.begin() + row * weight.columns,
                weight.values.begin() + (row + run) * weight.columns);
  return rows;
}

}  // namespace

std::vector<Matrix> matrices_of(const ModelWeights& weights) {
  const Architecture& a = weights.architecture();
  const int64_t d = a.d_model, heads = a.n_kv_heads;
  if (!a.latent)
    return {{"W_Q", false, a.q_size(), d, heads},
            {"W_K", false, a.k_size(), d, heads},
            {"W_V", false, a.v_size(), d, heads}};
  const int64_t rank = a.latent.kv_rank;
  return {a.latent.q_rank > 0 ? Matrix{"W_DQ", false, a.latent.q_rank, d, 0} : Matrix{"W_Q", false, a.q_size(), d, heads},
          {"W_DKV", false, rank, d, 0},
          {"W_KR", false, turned(weights), d, 0},
          {"W_UK", true, heads * still(weights), rank, heads},
          {"W_UV", true, a.v_size(), rank, heads}};
}

std::vector<std::vector<float>> read_matrices(const ModelWeights& weights, int layer) {
  const Architecture& a = weights.architecture();
  std::vector<std::vector<float>> matrices;
  if (!a.latent) {
    for (const Role role : {Role::w_q, Role::w_k, Role::w_v}) matrices.push_back(weights.read(role, layer).values);
    return matrices;
  }
  matrices.push_back(weights.read(a.latent.q_rank > 0 ? Role::w_q_a : Role::w_q, layer).values);
  const Weight kv_a = weights.read(Role::w_kv_a, layer), kv_b = weights.read(Role::w_kv_b, layer);
  const int64_t rank = a.latent.kv_rank, key = still(weights), head = key + a.v_dim();
  matrices.push_back(rows_of(kv_a, 0, rank, kv_a.rows));
  matrices.push_back(rows_of(kv_a, rank, kv_a.rows - rank, kv_a.rows));
  matrices.push_back(rows_of(kv_b, 0, key, head));
  matrices.push_back(rows_of(kv_b, key, a.v_dim(), head));
  return matrices;
}

LatentReader::LatentReader(const ModelWeights& weights, int layer) {
  kv_a_.load(weights, {{{Role::w_kv_a, layer}}}, {{{Role::b_kv_a, layer}}});
  norm_.load_rms(weights, layer, Role::kv_a_norm);
}

std::vector<float> LatentReader::operator()(const std::vector<float>& rows) const {
  const int64_t n = static_cast<int64_t>(rows.size()) / kv_a_.in(), wide = kv_a_.out(), rank = norm_.size();
  if (n == 0) return {};
  std::vector<float> latents(static_cast<size_t>(n * wide)), normed(static_cast<size_t>(n * rank));
  kv_a_({rows.data(), n, kv_a_.in(), kv_a_.in()}, {latents.data(), n, wide, wide});
  norm_(latents.data(), n, wide, normed.data(), rank);
  return normed;
}

}  // namespace spikescope
