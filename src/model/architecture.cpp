#include "model/architecture.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/fail.h"

namespace spikescope {
namespace {

/// Far above any model, low enough that products of two never overflow.
constexpr int64_t kLargest = int64_t{1} << 24;

void validate_experts(const Architecture& a, const std::string& what) {
  const Experts& e = a.experts;
  if (e.count < 1 || e.count > 65536) fail("{}: {} experts; expected 1 to 65536", what, e.count);
  if (e.per_token < 1 || e.per_token > e.count)
    fail("{}: a token goes through {} of {} experts; expected 1 to {}", what, e.per_token, e.count, e.count);
  if (e.width < 1 || e.width > kLargest || e.shared_width < 0 || e.shared_width > kLargest)
    fail("{}: the experts' width is {}, that of the shared ones {}; expected at most {}", what, e.width, e.shared_width,
         kLargest);
  if (e.groups > 1) {
    if (e.count % e.groups != 0) fail("{}: {} experts do not divide into {} groups", what, e.count, e.groups);
    if (e.groups_per_token < 1 || e.groups_per_token > e.groups)
      fail("{}: experts are chosen from {} of {} groups; expected 1 to {}", what, e.groups_per_token, e.groups,
           e.groups);
    if (e.groups_per_token * (e.count / e.groups) < e.per_token)
      fail("{}: {} groups of {} experts are fewer than the {} that a token goes through", what, e.groups_per_token,
           e.count / e.groups, e.per_token);
  }
  if (a.norm_places != NormPlaces::before || a.shared_norm)
    fail("{}: a mixture of experts is supported with a norm of its own before it only", what);
}

bool any_block(const Architecture& a, bool (*is)(const BlockPlan&)) {
  return std::any_of(a.blocks.begin(), a.blocks.end(), is);
}

std::string count_of(const Architecture& a, const std::function<bool(const BlockPlan&)>& is) {
  const auto count = std::count_if(a.blocks.begin(), a.blocks.end(), is);
  return count == a.n_layers ? "all layers" : fmt::format("{} of {} layers", count, a.n_layers);
}

}  // namespace

std::string_view activator_name(Activator activator) {
  constexpr std::string_view kNames[] = {"SiLU", "GELU", "GELU (tanh)", "GELU (sigmoid)", "ReLU"};
  return kNames[static_cast<size_t>(activator)];
}

void validate(const Architecture& a, const std::string& what) {
  const struct {
    const char* name;
    int64_t value, least, largest;
  } sizes[] = {
      {"layers", a.n_layers, 1, 4096},
      {"width", a.d_model, 1, kLargest},
      {"heads", a.n_heads, 1, 65536},
      {"KV heads", a.n_kv_heads, 1, 65536},
      {"head size", a.head_dim, 1, 65536},
      {"head size of values", a.v_head_dim, 0, 65536},
      {"MLP width", a.mlp_width, 1, kLargest},
      {"vocabulary", a.vocabulary, a.patches ? 0 : 1, kLargest},
      {"patch size", a.patches.size, 0, 4096},
      {"image size", a.patches.image, a.patches ? 1 : 0, 65536},
      {"channels", a.patches.channels, 1, 64},
      {"register tokens", a.patches.registers, 0, 65536},
      {"labels", a.labels, 0, kLargest},
      {"projection", a.projection, 0, kLargest},
      {"context length", a.context_length, 1, int64_t{1} << 40},
      {"positions", a.learned_positions, 0, kLargest},
      {"token types", a.token_types, 0, kLargest},
      {"rank of queries", a.latent.q_rank, 0, kLargest},
      {"rank of keys and values", a.latent.kv_rank, 0, kLargest},
  };
  for (const auto& [name, value, least, largest] : sizes)
    if (value < least || value > largest) fail("{}: {} is {}; expected {} to {}", what, name, value, least, largest);
  if (a.n_heads % a.n_kv_heads != 0)
    fail("{}: {} heads cannot share {} KV heads evenly", what, a.n_heads, a.n_kv_heads);
  for (const Rope& rope : a.ropes)
    if (rope.first + rope.dims > a.head_dim)
      fail("{}: RoPE turns {} channels, but a head has {}", what, rope.dims, a.head_dim);
  if (!(a.norm_eps >= 0.0 && a.norm_eps < 1.0)) fail("{}: the norm's epsilon is {}; expected 0 to 1", what, a.norm_eps);
  if (a.learned_positions > 0 && !a.patches && a.context_length > a.learned_positions - a.position_offset)
    fail("{}: a context of {} tokens, but {} positions", what, a.context_length,
         a.learned_positions - a.position_offset);
  const struct {
    const char* name;
    double value;
  } factors[] = {{"attention scale", a.attention_scale},      {"embedding scale", a.embedding_scale},
                 {"soft cap on scores", a.attention_softcap}, {"soft cap on logits", a.logit_softcap},
                 {"limit on q, k and v", a.qkv_clip},         {"logit scale", a.logit_scale}};
  for (const auto& [name, value] : factors)
    if (!(value >= 0.0 && value < 1e6)) fail("{}: the {} is {}; expected 0 to 1e6", what, name, value);
  if (a.attention_scale > 0.0 && a.attention_scale < 1e-6)  // 0: not set yet
    fail("{}: the attention scale is {}; expected 1e-6 to 1e6", what, a.attention_scale);
  if (any_block(a, [](const BlockPlan& block) { return block.experts; })) validate_experts(a, what);
}

std::vector<double> alibi_slopes(int64_t heads, double most) {
  int64_t whole = 1;
  while (2 * whole <= heads) whole *= 2;
  std::vector<double> slopes;
  for (int64_t i = 1; i <= whole; ++i)
    slopes.push_back(std::exp2(-most * static_cast<double>(i) / static_cast<double>(whole)));
  // Heads beyond a power of two take every second slope of twice as many heads.
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2)
    slopes.push_back(std::exp2(-most * static_cast<double>(i) / static_cast<double>(2 * whole)));
  return slopes;
}

std::vector<std::string> peculiarities(const Architecture& a) {
  std::vector<std::string> found;
  const auto add = [&](bool is, std::string text) {
    if (is) found.push_back(std::move(text));
  };
  add(!a.causal, a.patches ? "images: every token sees all others" : "every token sees all others (an encoder)");
  add(static_cast<bool>(a.patches), fmt::format("patches of {0} x {0} pixels", a.patches.size));
  add(a.patches.registers > 0, fmt::format("{} register tokens", a.patches.registers));
  add(a.norm == NormKind::layer, a.norm_bias ? "layer norms" : "layer norms without bias");
  add(a.norm_places == NormPlaces::sandwich, "sandwich norms");
  add(a.norm_places == NormPlaces::branch, "norms after attention and MLP only");
  add(a.norm_places == NormPlaces::after, "norms after the additions");
  add(a.parallel, a.shared_norm ? "attention and MLP side by side on one norm" : "attention and MLP side by side");
  add(a.layer_scale, "LayerScale");
  std::map<int64_t, int64_t> windows;
  for (const BlockPlan& block : a.blocks)
    if (block.window > 0) ++windows[block.window];
  for (const auto& [window, count] : windows)
    add(true, fmt::format("sliding window {} on {} of {} layers", window, count, a.n_layers));
  add(a.ropes.size() > 1,
      fmt::format("RoPE theta {} on sliding, {} on other layers", a.ropes.empty() ? 0.0 : a.ropes[0].theta,
                  a.ropes.size() > 1 ? a.ropes[1].theta : 0.0));
  const bool some_without = !a.ropes.empty() && any_block(a, [](const BlockPlan& block) { return block.rope < 0; });
  if (some_without) add(true, fmt::format("no RoPE on {}", count_of(a, [](const BlockPlan& b) { return b.rope < 0; })));
  add(!a.ropes.empty() && !a.latent && a.ropes[0].dims < a.head_dim,
      fmt::format("RoPE on {} of {} channels", a.ropes.empty() ? 0 : a.ropes[0].dims, a.head_dim));
  add(!a.alibi_slopes.empty(), "ALiBi");
  add(a.learned_positions > 0, "learned positions");
  add(a.embedding_norm, "a norm on the embedding");
  add(a.embedding_scale != 1.0, fmt::format("embeddings times {:.4g}", a.embedding_scale));
  add(static_cast<bool>(a.latent), fmt::format("latent attention of rank {}", a.latent.kv_rank));
  add(a.qk_norm == QkNorm::head, "QK-norm on each head");
  add(a.qk_norm == QkNorm::all, "QK-norm over all heads");
  add(a.attention_softcap > 0.0, fmt::format("scores capped at {}", a.attention_softcap));
  add(a.logit_softcap > 0.0, fmt::format("logits capped at {}", a.logit_softcap));
  add(a.qkv_clip > 0.0, fmt::format("q, k, v cut at {}", a.qkv_clip));
  add(a.attention_bias, "biases on q, k, v");
  add(!a.gated, "MLP without a gate");
  const bool experts = any_block(a, [](const BlockPlan& block) { return block.experts; });
  if (experts)
    add(true, fmt::format("{} of {} experts a token{} on {}", a.experts.per_token, a.experts.count,
                          a.experts.shared_width > 0 ? " and shared ones" : "",
                          count_of(a, [](const BlockPlan& b) { return b.experts; })));
  return found;
}

bool has_point(const Architecture& a, const HookPoint& point) {
  if (point.kind().per_block != (point.layer >= 0) || point.layer >= a.n_layers) return false;
  const bool experts = point.layer >= 0 && a.blocks[static_cast<size_t>(point.layer)].experts;
  switch (point.point) {
    case Point::q_normed:
    case Point::k_normed:
      return a.qk_norm != QkNorm::none;
    case Point::ln1_out:
      return a.norm_places != NormPlaces::branch;
    case Point::ln2_out:
      return a.has_ln2();
    case Point::ln1_post_out:
    case Point::ln2_post_out:
      return a.norms_of_branch();
    case Point::attn_scaled:
    case Point::mlp_scaled:
      return a.layer_scale;
    case Point::resid_mid:
      return !a.parallel;
    case Point::router_logits:
    case Point::router_weights:
    case Point::router_indices:
      return experts;
    case Point::mlp_pre:
    case Point::mlp_post:
      return !experts;
    case Point::ln_final_out:
      return a.final_norm && a.pool != Pool::first_normed;
    case Point::logits:
      return a.head;
    case Point::pooled:
      return a.pool != Pool::none;
    case Point::embeds:
      return a.contrastive;
    case Point::class_logits:
      return a.labels > 0;
    case Point::cls_logits:
    case Point::distillation_logits:
      return a.labels > 0 && a.distillation_classifier;
    default:
      return true;
  }
}

std::vector<HookPoint> hook_points(const Architecture& architecture) {
  std::vector<HookPoint> points;
  const auto add = [&](const HookPoint& point) {
    if (has_point(architecture, point)) points.push_back(point);
  };
  add({Point::embed, -1});
  for (int layer = 0; layer < architecture.n_layers; ++layer)
    for (const PointKind& kind : point_kinds())
      if (kind.per_block) add({kind.point, layer});
  for (const PointKind& kind : point_kinds())
    if (!kind.per_block && kind.point != Point::embed) add({kind.point, -1});
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
    case PointShape::values:
      return {a.n_kv_heads, a.v_dim()};
    case PointShape::mixed:
      return {a.n_heads, a.v_dim()};
    case PointShape::square:
      return {a.n_heads};
    case PointShape::width:
      return {a.mlp_width};
    case PointShape::experts:
      return {a.experts.count};
    case PointShape::chosen:
      return {a.experts.per_token};
    case PointShape::vocabulary:
      return {a.vocabulary};
    case PointShape::pooled:
      return {a.pooled_size()};
    case PointShape::projected:
      return {a.embedding_size()};
    case PointShape::labels:
      return {a.labels};
  }
  return {};
}

}  // namespace spikescope
