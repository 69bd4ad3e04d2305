// What a weight is for, and how large it is.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "model/architecture.h"

namespace spikescope {

/// Linear layers are [out, in]: y = W x + b.
enum class Role : uint8_t {
  token_embedding,  ///< [vocabulary, d]
  patch_embedding,  ///< [d, channels * side * side]
  b_patch_embedding,
  cls_token,  ///< [d]
  distillation_token,
  register_tokens,     ///< [registers, d]
  position_embedding,  ///< [learned positions, d]
  type_embedding,      ///< [token types, d]
  embedding_norm,      ///< norms: gain and bias [d]
  embedding_norm_bias,
  ln1,  ///< norm that feeds attention; NormPlaces::after: of the residual stream after attention
  ln1_bias,
  w_q,  ///< [heads * head_dim, d, or q_rank]; rows in the order in which the checkpoint's rotary embedding wants them
  b_q,
  w_k,  ///< [kv heads * head_dim, d]
  b_k,
  w_v,  ///< [kv heads * v_dim, d]
  b_v,
  q_norm,  ///< [head_dim] or [heads * head_dim]
  k_norm,
  w_q_a,  ///< latent attention: [q_rank, d]
  b_q_a,
  q_a_norm,  ///< [q_rank]
  w_kv_a,    ///< [kv_rank + rotated channels, d]
  b_kv_a,
  kv_a_norm,  ///< [kv_rank]
  w_kv_b,     ///< [heads * (unrotated channels + v_dim), kv_rank]
  w_o,        ///< [d, heads * v_dim]
  b_o,
  ln1_post,  ///< norm of what attention gives
  ln1_scale,
  ln2,
  ln2_bias,
  w_gate,  ///< [width, d]
  b_gate,
  w_up,
  b_up,
  w_down,  ///< [d, width]
  b_down,
  router,       ///< [experts, d]
  router_bias,  ///< [experts], on the choice alone
  expert_gate,  ///< [expert width, d]
  expert_up,
  expert_down,  ///< [d, expert width]
  shared_gate,  ///< [shared width, d]
  shared_up,
  shared_down,  ///< [d, shared width]
  ln2_post,
  ln2_scale,
  ln_final,
  ln_final_bias,
  head_dense,  ///< [d, d]
  b_head_dense,
  head_norm,
  head_norm_bias,
  unembedding,  ///< [vocabulary, d]
  b_unembedding,
  pool_query,  ///< [d], Pool::attention
  pool_qkv,    ///< [3 d, d]
  b_pool_qkv,
  pool_out,  ///< [d, d]
  b_pool_out,
  pool_norm,
  pool_norm_bias,
  pool_up,  ///< [width, d]
  b_pool_up,
  pool_down,  ///< [d, width]
  b_pool_down,
  classifier,  ///< [labels, pooled]
  b_classifier,
  distillation_classifier,
  b_distillation_classifier,
  projection,  ///< [projection, pooled]
  b_projection,
  logit_scale,  ///< [1], a logarithm
  logit_bias,
};

/// Which of a role's weights: of which block (-1: outside blocks) and expert (-1: of none).
struct WeightKey {
  Role role;
  int layer = -1;
  int expert = -1;
};

/// Every role there is.
std::span<const Role> all_roles();
/// What a role is called in messages: "w_q", "ln1".
std::string_view role_name(Role role);
/// Whether a model of this architecture has such weights, in block `layer` where they are per block.
bool has_role(const Architecture& architecture, Role role, int layer = -1);
/// Rows and columns of a role's weight (columns 1: a vector).
std::pair<int64_t, int64_t> role_shape(const Architecture& architecture, Role role);
/// All weights of the architecture, block by block, between those before and those after the blocks.
std::vector<WeightKey> weight_keys(const Architecture& architecture);
/// Those of one block.
std::vector<WeightKey> weight_keys(const Architecture& architecture, int layer);
/// Values in all weights, from the sizes alone.
int64_t parameter_count(const Architecture& architecture);
/// The same by part, each with its norms.
struct ParameterParts {
  int64_t embeddings = 0, attention = 0, mlp = 0, head = 0;
};
ParameterParts parameter_parts(const Architecture& architecture);

}  // namespace spikescope
