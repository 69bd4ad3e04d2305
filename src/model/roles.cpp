#include "model/roles.h"

#include <algorithm>
#include <array>

namespace spikescope {
namespace {

/// Sizes that shapes are made of.
enum class Size : uint8_t {
  one,
  d,
  q,
  k,
  v,
  z,
  q_norm,
  k_norm,
  q_input,
  q_rank,
  kv_a,
  kv_rank,
  kv_b,
  width,
  experts,
  expert_width,
  shared_width,
  vocabulary,
  positions,
  types,
  patch,
  registers,
  pooled,
  qkv,
  labels,
  projection,
};

int64_t size_of(Size size, const Architecture& a) {
  const int64_t turned = a.ropes.empty() ? 0 : a.ropes[0].dims;
  switch (size) {
    case Size::one:
      return 1;
    case Size::d:
      return a.d_model;
    case Size::q:
      return a.q_size();
    case Size::k:
      return a.k_size();
    case Size::v:
      return a.v_size();
    case Size::z:
      return a.z_size();
    case Size::q_norm:
      return a.qk_norm == QkNorm::all ? a.q_size() : a.head_dim;
    case Size::k_norm:
      return a.qk_norm == QkNorm::all ? a.k_size() : a.head_dim;
    case Size::q_input:
      return a.latent.q_rank > 0 ? a.latent.q_rank : a.d_model;
    case Size::q_rank:
      return a.latent.q_rank;
    case Size::kv_a:
      return a.latent.kv_rank + turned;
    case Size::kv_rank:
      return a.latent.kv_rank;
    case Size::kv_b:
      return a.n_heads * (a.head_dim - turned + a.v_dim());
    case Size::width:
      return a.mlp_width;
    case Size::experts:
      return a.experts.count;
    case Size::expert_width:
      return a.experts.width;
    case Size::shared_width:
      return a.experts.shared_width;
    case Size::vocabulary:
      return a.vocabulary;
    case Size::positions:
      return a.learned_positions;
    case Size::types:
      return a.token_types;
    case Size::patch:
      return a.patches.channels * a.patches.size * a.patches.size;
    case Size::registers:
      return a.patches.registers;
    case Size::pooled:
      return a.pooled_size();
    case Size::qkv:
      return 3 * a.d_model;
    case Size::labels:
      return a.labels;
    case Size::projection:
      return a.projection;
  }
  return 0;
}

enum class Per : uint8_t { model, block, expert };

using A = Architecture;
bool always(const A&, int) { return true; }
bool patches(const A& a, int) { return static_cast<bool>(a.patches); }
bool attention_pool(const A& a, int) { return a.pool == Pool::attention; }
bool classifier(const A& a, int) { return a.labels > 0; }
bool second_classifier(const A& a, int) { return a.labels > 0 && a.distillation_classifier; }
bool plain_mlp(const A& a, int l) { return !a.blocks[static_cast<size_t>(l)].experts; }
bool gated_mlp(const A& a, int l) { return a.gated && plain_mlp(a, l); }
bool experts(const A& a, int l) { return a.blocks[static_cast<size_t>(l)].experts; }
bool shared_experts(const A& a, int l) { return experts(a, l) && a.experts.shared_width > 0; }
bool low_rank_q(const A& a, int) { return a.latent.q_rank > 0; }
bool latent(const A& a, int) { return static_cast<bool>(a.latent); }
bool direct_kv(const A& a, int) { return !a.latent; }
bool kv_bias(const A& a, int) { return a.attention_bias && !a.latent; }
bool qk_norm(const A& a, int) { return a.qk_norm != QkNorm::none; }
bool ln1(const A& a, int) { return a.norm_places != NormPlaces::branch; }
bool ln2(const A& a, int) { return a.has_ln2(); }
bool branch_norms(const A& a, int) { return a.norms_of_branch(); }
bool layer_scale(const A& a, int) { return a.layer_scale; }
bool head_transform(const A& a, int) { return a.head_transform; }

/// A role, where a model has it, and its shape (columns `one`: a vector).
struct RoleKind {
  Role role;
  std::string_view name;
  Per per;
  Size rows, columns;
  bool (*in)(const Architecture&, int layer);
};

// Indexed by Role.
constexpr std::array kRoles = {
    RoleKind{Role::token_embedding, "token_embedding", Per::model, Size::vocabulary, Size::d,
             [](const A& a, int) { return !a.patches; }},
    RoleKind{Role::patch_embedding, "patch_embedding", Per::model, Size::d, Size::patch, patches},
    RoleKind{Role::b_patch_embedding, "b_patch_embedding", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.patches && a.patches.bias; }},
    RoleKind{Role::cls_token, "cls_token", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.patches.cls; }},
    RoleKind{Role::distillation_token, "distillation_token", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.patches.distillation; }},
    RoleKind{Role::register_tokens, "register_tokens", Per::model, Size::registers, Size::d,
             [](const A& a, int) { return a.patches.registers > 0; }},
    RoleKind{Role::position_embedding, "position_embedding", Per::model, Size::positions, Size::d,
             [](const A& a, int) { return a.learned_positions > 0; }},
    RoleKind{Role::type_embedding, "type_embedding", Per::model, Size::types, Size::d,
             [](const A& a, int) { return a.token_types > 0; }},
    RoleKind{Role::embedding_norm, "embedding_norm", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.embedding_norm; }},
    RoleKind{Role::embedding_norm_bias, "embedding_norm_bias", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.embedding_norm && a.norm_bias; }},
    RoleKind{Role::ln1, "ln1", Per::block, Size::d, Size::one, ln1},
    RoleKind{Role::ln1_bias, "ln1_bias", Per::block, Size::d, Size::one,
             [](const A& a, int l) { return a.norm_bias && ln1(a, l); }},
    RoleKind{Role::w_q, "w_q", Per::block, Size::q, Size::q_input, always},
    RoleKind{Role::b_q, "b_q", Per::block, Size::q, Size::one, kv_bias},
    RoleKind{Role::w_k, "w_k", Per::block, Size::k, Size::d, direct_kv},
    RoleKind{Role::b_k, "b_k", Per::block, Size::k, Size::one, kv_bias},
    RoleKind{Role::w_v, "w_v", Per::block, Size::v, Size::d, direct_kv},
    RoleKind{Role::b_v, "b_v", Per::block, Size::v, Size::one, kv_bias},
    RoleKind{Role::q_norm, "q_norm", Per::block, Size::q_norm, Size::one, qk_norm},
    RoleKind{Role::k_norm, "k_norm", Per::block, Size::k_norm, Size::one, qk_norm},
    RoleKind{Role::w_q_a, "w_q_a", Per::block, Size::q_rank, Size::d, low_rank_q},
    RoleKind{Role::b_q_a, "b_q_a", Per::block, Size::q_rank, Size::one,
             [](const A& a, int l) { return a.attention_bias && low_rank_q(a, l); }},
    RoleKind{Role::q_a_norm, "q_a_norm", Per::block, Size::q_rank, Size::one, low_rank_q},
    RoleKind{Role::w_kv_a, "w_kv_a", Per::block, Size::kv_a, Size::d, latent},
    RoleKind{Role::b_kv_a, "b_kv_a", Per::block, Size::kv_a, Size::one,
             [](const A& a, int l) { return a.attention_bias && latent(a, l); }},
    RoleKind{Role::kv_a_norm, "kv_a_norm", Per::block, Size::kv_rank, Size::one, latent},
    RoleKind{Role::w_kv_b, "w_kv_b", Per::block, Size::kv_b, Size::kv_rank, latent},
    RoleKind{Role::w_o, "w_o", Per::block, Size::d, Size::z, always},
    RoleKind{Role::b_o, "b_o", Per::block, Size::d, Size::one, [](const A& a, int) { return a.attention_out_bias; }},
    RoleKind{Role::ln1_post, "ln1_post", Per::block, Size::d, Size::one, branch_norms},
    RoleKind{Role::ln1_scale, "ln1_scale", Per::block, Size::d, Size::one, layer_scale},
    RoleKind{Role::ln2, "ln2", Per::block, Size::d, Size::one, ln2},
    RoleKind{Role::ln2_bias, "ln2_bias", Per::block, Size::d, Size::one,
             [](const A& a, int l) { return a.norm_bias && ln2(a, l); }},
    RoleKind{Role::w_gate, "w_gate", Per::block, Size::width, Size::d, gated_mlp},
    RoleKind{Role::b_gate, "b_gate", Per::block, Size::width, Size::one,
             [](const A& a, int l) { return a.mlp_bias && gated_mlp(a, l); }},
    RoleKind{Role::w_up, "w_up", Per::block, Size::width, Size::d, plain_mlp},
    RoleKind{Role::b_up, "b_up", Per::block, Size::width, Size::one,
             [](const A& a, int l) { return a.mlp_bias && plain_mlp(a, l); }},
    RoleKind{Role::w_down, "w_down", Per::block, Size::d, Size::width, plain_mlp},
    RoleKind{Role::b_down, "b_down", Per::block, Size::d, Size::one,
             [](const A& a, int l) { return a.mlp_bias && plain_mlp(a, l); }},
    RoleKind{Role::router, "router", Per::block, Size::experts, Size::d, experts},
    RoleKind{Role::router_bias, "router_bias", Per::block, Size::experts, Size::one,
             [](const A& a, int l) { return a.experts.bias && experts(a, l); }},
    RoleKind{Role::expert_gate, "expert_gate", Per::expert, Size::expert_width, Size::d, experts},
    RoleKind{Role::expert_up, "expert_up", Per::expert, Size::expert_width, Size::d, experts},
    RoleKind{Role::expert_down, "expert_down", Per::expert, Size::d, Size::expert_width, experts},
    RoleKind{Role::shared_gate, "shared_gate", Per::block, Size::shared_width, Size::d, shared_experts},
    RoleKind{Role::shared_up, "shared_up", Per::block, Size::shared_width, Size::d, shared_experts},
    RoleKind{Role::shared_down, "shared_down", Per::block, Size::d, Size::shared_width, shared_experts},
    RoleKind{Role::ln2_post, "ln2_post", Per::block, Size::d, Size::one, branch_norms},
    RoleKind{Role::ln2_scale, "ln2_scale", Per::block, Size::d, Size::one, layer_scale},
    RoleKind{Role::ln_final, "ln_final", Per::model, Size::d, Size::one, [](const A& a, int) { return a.final_norm; }},
    RoleKind{Role::ln_final_bias, "ln_final_bias", Per::model, Size::d, Size::one,
             [](const A& a, int) { return a.final_norm && a.norm_bias; }},
    RoleKind{Role::head_dense, "head_dense", Per::model, Size::d, Size::d, head_transform},
    RoleKind{Role::b_head_dense, "b_head_dense", Per::model, Size::d, Size::one, head_transform},
    RoleKind{Role::head_norm, "head_norm", Per::model, Size::d, Size::one, head_transform},
    RoleKind{Role::head_norm_bias, "head_norm_bias", Per::model, Size::d, Size::one, head_transform},
    RoleKind{Role::unembedding, "unembedding", Per::model, Size::vocabulary, Size::d,
             [](const A& a, int) { return a.head && !a.tied_embeddings; }},
    RoleKind{Role::b_unembedding, "b_unembedding", Per::model, Size::vocabulary, Size::one,
             [](const A& a, int) { return a.unembedding_bias; }},
    RoleKind{Role::pool_query, "pool_query", Per::model, Size::d, Size::one, attention_pool},
    RoleKind{Role::pool_qkv, "pool_qkv", Per::model, Size::qkv, Size::d, attention_pool},
    RoleKind{Role::b_pool_qkv, "b_pool_qkv", Per::model, Size::qkv, Size::one, attention_pool},
    RoleKind{Role::pool_out, "pool_out", Per::model, Size::d, Size::d, attention_pool},
    RoleKind{Role::b_pool_out, "b_pool_out", Per::model, Size::d, Size::one, attention_pool},
    RoleKind{Role::pool_norm, "pool_norm", Per::model, Size::d, Size::one, attention_pool},
    RoleKind{Role::pool_norm_bias, "pool_norm_bias", Per::model, Size::d, Size::one, attention_pool},
    RoleKind{Role::pool_up, "pool_up", Per::model, Size::width, Size::d, attention_pool},
    RoleKind{Role::b_pool_up, "b_pool_up", Per::model, Size::width, Size::one, attention_pool},
    RoleKind{Role::pool_down, "pool_down", Per::model, Size::d, Size::width, attention_pool},
    RoleKind{Role::b_pool_down, "b_pool_down", Per::model, Size::d, Size::one, attention_pool},
    RoleKind{Role::classifier, "classifier", Per::model, Size::labels, Size::pooled, classifier},
    RoleKind{Role::b_classifier, "b_classifier", Per::model, Size::labels, Size::one, classifier},
    RoleKind{Role::distillation_classifier, "distillation_classifier", Per::model, Size::labels, Size::pooled,
             second_classifier},
    RoleKind{Role::b_distillation_classifier, "b_distillation_classifier", Per::model, Size::labels, Size::one,
             second_classifier},
    RoleKind{Role::projection, "projection", Per::model, Size::projection, Size::pooled,
             [](const A& a, int) { return a.projection > 0; }},
    RoleKind{Role::b_projection, "b_projection", Per::model, Size::projection, Size::one,
             [](const A& a, int) { return a.projection > 0 && a.projection_bias; }},
    RoleKind{Role::logit_scale, "logit_scale", Per::model, Size::one, Size::one,
             [](const A& a, int) { return a.contrastive; }},
    RoleKind{Role::logit_bias, "logit_bias", Per::model, Size::one, Size::one,
             [](const A& a, int) { return a.contrastive && a.logit_bias; }},
};
static_assert(kRoles.size() == static_cast<size_t>(Role::logit_bias) + 1);

const RoleKind& kind_of(Role role) { return kRoles[static_cast<size_t>(role)]; }

/// The roles' weights outside blocks (-1) or in block `layer`.
void add_keys(const Architecture& a, int layer, bool (*which)(Role), std::vector<WeightKey>& keys) {
  for (const RoleKind& kind : kRoles) {
    if (!which(kind.role) || !has_role(a, kind.role, layer)) continue;
    if (kind.per != Per::expert) {
      keys.push_back({kind.role, layer});
      continue;
    }
    for (int expert = 0; expert < a.experts.count; ++expert) keys.push_back({kind.role, layer, expert});
  }
}

}  // namespace

std::span<const Role> all_roles() {
  static const auto roles = [] {
    std::array<Role, kRoles.size()> all{};
    std::transform(kRoles.begin(), kRoles.end(), all.begin(), [](const RoleKind& kind) { return kind.role; });
    return all;
  }();
  return roles;
}

std::string_view role_name(Role role) { return kind_of(role).name; }

bool has_role(const Architecture& a, Role role, int layer) {
  const RoleKind& kind = kind_of(role);
  return (kind.per == Per::model) == (layer < 0) && kind.in(a, layer);
}

std::pair<int64_t, int64_t> role_shape(const Architecture& a, Role role) {
  return {size_of(kind_of(role).rows, a), size_of(kind_of(role).columns, a)};
}

std::vector<WeightKey> weight_keys(const Architecture& a, int layer) {
  std::vector<WeightKey> keys;
  add_keys(
      a, layer, [](Role) { return true; }, keys);
  return keys;
}

std::vector<WeightKey> weight_keys(const Architecture& a) {
  std::vector<WeightKey> keys;
  add_keys(
      a, -1, [](Role role) { return role < Role::ln_final; }, keys);
  for (int layer = 0; layer < a.n_layers; ++layer)
    add_keys(
        a, layer, [](Role) { return true; }, keys);
  add_keys(
      a, -1, [](Role role) { return role >= Role::ln_final; }, keys);
  return keys;
}

ParameterParts parameter_parts(const Architecture& a) {
  ParameterParts parts;
  for (int layer = -1; layer < a.n_layers; ++layer)
    for (const RoleKind& kind : kRoles) {
      if (!has_role(a, kind.role, layer)) continue;
      // Roles stand in the order of the pass.
      int64_t& part = kind.role < Role::ln1        ? parts.embeddings
                      : kind.role < Role::ln2      ? parts.attention
                      : kind.role < Role::ln_final ? parts.mlp
                                                   : parts.head;
      part += size_of(kind.rows, a) * size_of(kind.columns, a) * (kind.per == Per::expert ? a.experts.count : 1);
    }
  return parts;
}

int64_t parameter_count(const Architecture& a) {
  const ParameterParts parts = parameter_parts(a);
  return parts.embeddings + parts.attention + parts.mlp + parts.head;
}

}  // namespace spikescope
