#include "model/architecture.h"

#include <algorithm>
#include <array>

#include "base/fail.h"

namespace spikescope {
namespace {

// Points that only some architectures have, and that none of those described so far has.
constexpr std::array kAbsent = {Point::q_normed,      Point::k_normed,       Point::ln1_post_out,
                                Point::ln2_post_out,  Point::attn_scaled,    Point::mlp_scaled,
                                Point::router_logits, Point::router_weights, Point::router_indices};

}  // namespace

void validate(const Architecture& a, const std::string& what) {
  // Far above any model, low enough that products of two never overflow.
  constexpr int64_t kLargest = int64_t{1} << 24;
  const struct {
    const char* name;
    int64_t value, largest;
  } sizes[] = {
      {"layers", a.n_layers, 4096},
      {"width", a.d_model, kLargest},
      {"heads", a.n_heads, 65536},
      {"KV heads", a.n_kv_heads, 65536},
      {"head size", a.head_dim, 65536},
      {"MLP width", a.mlp_width, kLargest},
      {"vocabulary", a.vocabulary, kLargest},
      {"context length", a.context_length, int64_t{1} << 40},
  };
  for (const auto& [name, value, largest] : sizes)
    if (value < 1 || value > largest) fail("{}: {} is {}; expected 1 to {}", what, name, value, largest);
  if (a.n_heads % a.n_kv_heads != 0)
    fail("{}: {} heads cannot share {} KV heads evenly", what, a.n_heads, a.n_kv_heads);
  if (a.rope.dims > a.head_dim) fail("{}: RoPE turns {} channels, but a head has {}", what, a.rope.dims, a.head_dim);
  if (!(a.norm_eps >= 0.0 && a.norm_eps < 1.0)) fail("{}: the norm's epsilon is {}; expected 0 to 1", what, a.norm_eps);
}

int64_t parameter_count(const Architecture& a) {
  const int64_t q = a.n_heads * a.head_dim, kv = a.n_kv_heads * a.head_dim;
  int64_t block = 2 * a.d_model + a.d_model * (2 * q + 2 * kv) + 3 * a.d_model * a.mlp_width;
  if (a.attention_bias) block += q + 2 * kv;
  if (a.attention_out_bias) block += a.d_model;
  if (a.mlp_bias) block += 2 * a.mlp_width + a.d_model;
  return a.n_layers * block + a.d_model + a.vocabulary * a.d_model * (a.tied_embeddings ? 1 : 2);
}

bool has_point(const Architecture& architecture, const HookPoint& point) {
  if (std::find(kAbsent.begin(), kAbsent.end(), point.point) != kAbsent.end()) return false;
  return point.kind().per_block ? point.layer >= 0 && point.layer < architecture.n_layers : point.layer == -1;
}

std::vector<HookPoint> hook_points(const Architecture& architecture) {
  std::vector<HookPoint> points = {{Point::embed, -1}};
  for (int layer = 0; layer < architecture.n_layers; ++layer)
    for (const PointKind& kind : point_kinds())
      if (kind.per_block && has_point(architecture, {kind.point, layer})) points.push_back({kind.point, layer});
  points.push_back({Point::ln_final_out, -1});
  points.push_back({Point::logits, -1});
  return points;
}

std::vector<int64_t> row_shape(const Architecture& a, const HookPoint& point) {
  switch (point.kind().shape) {
    case PointShape::model:
      return {a.d_model};
    case PointShape::query_heads:
      return {a.n_heads, a.head_dim};
    case PointShape::kv_heads:
      return {a.n_kv_heads, a.head_dim};
    case PointShape::square:
      return {a.n_heads};
    case PointShape::width:
      return {a.mlp_width};
    case PointShape::vocabulary:
      return {a.vocabulary};
    case PointShape::experts:
    case PointShape::chosen:
      break;
  }
  return {};
}

}  // namespace spikescope
