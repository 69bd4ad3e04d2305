#include "quant/sink_bias.h"

#include <fmt/format.h>

#include "model/attention.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/rope.h"
#include "model/rows.h"

namespace spikescope {

std::string why_no_sink_bias(const Architecture& a) {
  if (a.latent) return fmt::format("keys and values of {} models come from a latent vector", a.family);
  for (int layer = 0; layer < a.n_layers; ++layer)
    if (const std::string_view why = why_no_attention_bias(attention_shape(a, layer)); !why.empty())
      return fmt::format("attention of block {} can have none: {}", layer, why);
  return {};
}

SinkBias sink_bias_of(const ModelWeights& weights, int layer, std::span<const float> x) {
  const Architecture& a = weights.architecture();
  const auto d = static_cast<int64_t>(x.size());
  const int64_t keys = a.k_size(), values = a.v_size();
  Linear linear;
  linear.load(weights, {{{Role::w_k, layer}, {Role::w_v, layer}}}, {{{Role::b_k, layer}, {Role::b_v, layer}}});
  std::vector<float> row(static_cast<size_t>(keys + values));
  const MatrixView out{row.data(), 1, keys + values, keys + values};
  linear({x.data(), 1, d, d}, out);
  if (a.qkv_clip > 0.0) clip_rows(static_cast<float>(a.qkv_clip), out);
  if (a.qk_norm != QkNorm::none) {
    Norm norm;
    norm.load_rms(weights, layer, Role::k_norm);
    norm(row.data(), a.qk_norm == QkNorm::head ? a.n_kv_heads : 1, a.head_dim, row.data(), a.head_dim);
  }
  // At position 0 nothing turns, but some kinds of RoPE scale what they turn.
  if (const int rope = a.blocks[static_cast<size_t>(layer)].rope; rope >= 0 && !a.ropes.empty())
    RopeTable(a.ropes[static_cast<size_t>(rope)], 1).rotate(row.data(), 1, keys, a.n_kv_heads, a.head_dim, 0);
  return {{row.begin(), row.begin() + keys}, {row.begin() + keys, row.end()}};
}

}  // namespace spikescope
