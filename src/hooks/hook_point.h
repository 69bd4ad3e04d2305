// The places in the forward pass that can be read and written, by the names TransformerLens gave them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// Kinds of hook points, in the order in which a block reaches them.
enum class Point : uint8_t {
  embed,
  resid_pre,
  ln1_out,
  q,
  k,
  v,
  q_normed,
  k_normed,
  rot_q,
  rot_k,
  scores,
  pattern,
  z,
  attn_out,
  ln1_post_out,
  attn_scaled,
  resid_mid,
  ln2_out,
  router_logits,
  router_weights,
  router_indices,
  mlp_pre,
  mlp_post,
  mlp_out,
  ln2_post_out,
  mlp_scaled,
  resid_post,
  ln_final_out,
  logits,
  pooled,
  embeds,
  cls_logits,
  distillation_logits,
  class_logits,
};

/// How the values at a point are laid out; d is the model's width, N the tokens of all prompts.
enum class PointShape : uint8_t {
  model,        ///< [N, d]
  query_heads,  ///< [N, heads, head_dim]
  kv_heads,     ///< [N, kv heads, head_dim]
  values,       ///< [N, kv heads, head_dim of values]
  mixed,        ///< [N, heads, head_dim of values]
  square,       ///< one [heads, T, T] a prompt
  width,        ///< [N, MLP width]
  experts,      ///< [N, experts]
  chosen,       ///< [N, experts a token]
  vocabulary,   ///< [N, vocabulary]
  pooled,       ///< [prompts, d]
  projected,    ///< [prompts, projection]
  labels,       ///< [prompts, labels]
};

/// One row of the table of kinds.
struct PointKind {
  Point point;
  std::string_view name;  ///< after "blocks.l." where `per_block`
  bool per_block;
  PointShape shape;

  /// Whether it has a row for each prompt, not for each token.
  bool per_prompt() const { return shape >= PointShape::pooled; }
};

/// All kinds, indexed by Point.
std::span<const PointKind> point_kinds();

/// A place in the forward pass: a kind and, where per block, the layer (from 0).
struct HookPoint {
  Point point = Point::embed;
  int layer = -1;

  const PointKind& kind() const { return point_kinds()[static_cast<size_t>(point)]; }
  std::string name() const;     ///< "blocks.3.attn.rot_q"
  std::string dataset() const;  ///< "/blocks/3/attn/rot_q"
  bool operator==(const HookPoint&) const = default;
};

/// Parses an exact name. Throws UsageError, naming the nearest point, when there is no such name.
HookPoint parse_hook_point(std::string_view name);

/// Whether a glob ('*' any run of characters, '?' one, [abc] a set) matches the whole name.
bool glob_matches(std::string_view glob, std::string_view name);

}  // namespace spikescope
