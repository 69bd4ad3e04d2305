// DeepSeek V2 (arXiv 2405.04434): multi-head latent attention, and experts chosen by softmax from the best groups.

#include <cmath>

#include "families/deepseek.h"

namespace spikescope {

Architecture deepseek_like(const Config& c) {
  Architecture a = usual_sizes(c);
  a.norm_eps = c.number_or("rms_norm_eps", 1e-6);
  a.activation = read_activation(c, "hidden_act", "silu");
  a.attention_bias = c.flag_or("attention_bias", false);
  a.attention_out_bias = a.attention_bias;
  const int64_t still = c.integer("qk_nope_head_dim"), turned = c.integer("qk_rope_head_dim");
  if (still < 0) c.fail_value("qk_nope_head_dim", "0 or more");
  a.latent = {.q_rank = c.integer_or("q_lora_rank", 0), .kv_rank = c.integer("kv_lora_rank")};
  a.n_kv_heads = a.n_heads;
  a.head_dim = still + turned;
  a.v_head_dim = c.integer("v_head_dim");
  validate(a, c.what());
  a.ropes = {read_rope(c, turned, a.context_length)};
  a.ropes[0].first = still;
  a.ropes[0].interleaved = c.flag_or("rope_interleave", true);
  a.attention_scale = yarn_attention_scale(c) / std::sqrt(static_cast<double>(a.head_dim));

  const int64_t width = c.integer("moe_intermediate_size");
  a.experts = {.count = c.integer_or("n_routed_experts", 0),
               .per_token = c.integer_or("num_experts_per_tok", 1),
               .width = width,
               .shared_width = width * c.integer_or("n_shared_experts", 0),
               .normalized = c.flag_or("norm_topk_prob", false),
               .scale = c.number_or("routed_scaling_factor", 1.0),
               .groups = c.integer_or("n_group", 1),
               .groups_per_token = c.integer_or("topk_group", 1)};
  if (!(a.experts.scale >= 0.0 && a.experts.scale < 1e6)) c.fail_value("routed_scaling_factor", "0 to 1e6");
  c.expect("moe_layer_freq", 1);
  const int64_t first = c.integer_or("first_k_dense_replace", 0);
  if (first < 0) c.fail_value("first_k_dense_replace", "0 or more");
  for (int64_t layer = first; layer < a.n_layers && a.experts.count > 0; ++layer)
    a.blocks[static_cast<size_t>(layer)].experts = true;
  return a;
}

RoleNames deepseek_names() {
  return with(llama_names(),
              {{Role::w_q_a, "model.layers.{}.self_attn.q_a_proj.weight"},
               {Role::b_q_a, "model.layers.{}.self_attn.q_a_proj.bias"},
               {Role::q_a_norm, "model.layers.{}.self_attn.q_a_layernorm.weight"},
               {Role::w_q, "model.layers.{}.self_attn.q_b_proj.weight|model.layers.{}.self_attn.q_proj.weight"},
               {Role::w_kv_a, "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight"},
               {Role::b_kv_a, "model.layers.{}.self_attn.kv_a_proj_with_mqa.bias"},
               {Role::kv_a_norm, "model.layers.{}.self_attn.kv_a_layernorm.weight"},
               {Role::w_kv_b, "model.layers.{}.self_attn.kv_b_proj.weight"},
               {Role::router, "model.layers.{}.mlp.gate.weight"},
               {Role::router_bias, "model.layers.{}.mlp.gate.e_score_correction_bias"},
               {Role::expert_gate, "model.layers.{}.mlp.experts.{}.gate_proj.weight"},
               {Role::expert_up, "model.layers.{}.mlp.experts.{}.up_proj.weight"},
               {Role::expert_down, "model.layers.{}.mlp.experts.{}.down_proj.weight"},
               {Role::shared_gate, "model.layers.{}.mlp.shared_experts.gate_proj.weight"},
               {Role::shared_up, "model.layers.{}.mlp.shared_experts.up_proj.weight"},
               {Role::shared_down, "model.layers.{}.mlp.shared_experts.down_proj.weight"}});
}

namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = deepseek_like(c);
  const std::string method = c.text_or("topk_method", "greedy");
  if (method == "greedy")
    a.experts.groups = 1;
  else if (method != "group_limited_greedy")
    c.fail_value("topk_method", "greedy or group_limited_greedy");
  return a;
}

}  // namespace

Family deepseek_v2_family() {
  return {"deepseek_v2", "DeepSeek V2", {"deepseek_v2"}, from_config, "model.", deepseek_names()};
}

}  // namespace spikescope
