// GPT-NeoX and Pythia: layer norms, RoPE on a quarter of a head's channels, attention and MLP side by side.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = usual_sizes(c);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = c.number_or("layer_norm_eps", 1e-5);
  a.gated = false;
  a.activation = read_activation(c, "hidden_act", "gelu");
  a.attention_bias = a.attention_out_bias = c.flag_or("attention_bias", true);
  a.mlp_bias = true;
  a.parallel = c.flag_or("use_parallel_residual", true);
  a.ropes = {read_rope(c, rotated_channels(c, a.head_dim), a.context_length)};
  return a;
}

}  // namespace

Family gpt_neox_family() {
  constexpr TensorName kQkv("gpt_neox.layers.{}.attention.query_key_value.weight", Pack::qkv_by_group);
  constexpr TensorName kQkvBias("gpt_neox.layers.{}.attention.query_key_value.bias", Pack::qkv_by_group);
  return {"gpt_neox",
          "GPT-NeoX, Pythia",
          {"gpt_neox"},
          from_config,
          "gpt_neox.",
          {{Role::token_embedding, "gpt_neox.embed_in.weight"},
           {Role::ln1, "gpt_neox.layers.{}.input_layernorm.weight"},
           {Role::ln1_bias, "gpt_neox.layers.{}.input_layernorm.bias"},
           {Role::w_q, kQkv},
           {Role::b_q, kQkvBias},
           {Role::w_k, kQkv},
           {Role::b_k, kQkvBias},
           {Role::w_v, kQkv},
           {Role::b_v, kQkvBias},
           {Role::w_o, "gpt_neox.layers.{}.attention.dense.weight"},
           {Role::b_o, "gpt_neox.layers.{}.attention.dense.bias"},
           {Role::ln2, "gpt_neox.layers.{}.post_attention_layernorm.weight"},
           {Role::ln2_bias, "gpt_neox.layers.{}.post_attention_layernorm.bias"},
           {Role::w_up, "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight"},
           {Role::b_up, "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias"},
           {Role::w_down, "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"},
           {Role::b_down, "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias"},
           {Role::ln_final, "gpt_neox.final_layer_norm.weight"},
           {Role::ln_final_bias, "gpt_neox.final_layer_norm.bias"},
           {Role::unembedding, "embed_out.weight"}}};
}

}  // namespace spikescope
