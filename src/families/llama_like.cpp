#include "families/llama_like.h"

#include <array>

#include "base/fail.h"

namespace spikescope {

Architecture usual_sizes(const Config& c) {
  Architecture a;
  a.n_layers = c.integer("num_hidden_layers");
  a.d_model = c.integer("hidden_size");
  a.n_heads = c.integer("num_attention_heads");
  a.n_kv_heads = c.integer_or("num_key_value_heads", a.n_heads);
  a.head_dim = c.integer_or("head_dim", a.n_heads > 0 ? a.d_model / a.n_heads : 0);
  a.mlp_width = c.integer_or("intermediate_size", 4 * a.d_model);
  a.vocabulary = c.integer("vocab_size");
  a.context_length = c.integer_or("max_position_embeddings", 2048);
  a.tied_embeddings = c.flag_or("tie_word_embeddings", false);
  validate(a, c.what());  // before anything is made of these sizes
  a.blocks.resize(static_cast<size_t>(a.n_layers));
  return a;
}

Architecture usual_gguf(const Config& c, const TensorTable& tensors, std::string_view eps_key) {
  Architecture a;
  a.n_layers = c.integer("block_count");
  a.d_model = c.integer("embedding_length");
  a.n_heads = c.integer("attention.head_count");
  a.n_kv_heads = c.integer_or("attention.head_count_kv", a.n_heads);
  a.head_dim = c.integer_or("attention.key_length", a.n_heads > 0 ? a.d_model / a.n_heads : 0);
  a.v_head_dim = c.integer_or("attention.value_length", 0);
  a.mlp_width = c.integer("feed_forward_length");
  a.vocabulary = c.integer_or("vocab_size", tensors.require("token_embd.weight").shape[0]);
  a.context_length = c.integer("context_length");
  a.norm_eps = c.number(eps_key);
  a.attention_bias = tensors.find("blk.0.attn_q.bias") || tensors.find("blk.0.attn_qkv.bias");
  a.attention_out_bias = tensors.find("blk.0.attn_output.bias") != nullptr;
  a.mlp_bias = tensors.find("blk.0.ffn_up.bias") != nullptr;
  a.tied_embeddings = tensors.find("output.weight") == nullptr;
  validate(a, c.what());  // before anything is made of these sizes
  a.blocks.resize(static_cast<size_t>(a.n_layers));
  return a;
}

Activator read_activation(const Config& config, std::string_view key, const std::string& fallback) {
  constexpr std::array<std::pair<std::string_view, Activator>, 9> kActivations = {{
      {"silu", Activator::silu},
      {"swish", Activator::silu},
      {"gelu", Activator::gelu},
      {"gelu_python", Activator::gelu},
      {"gelu_new", Activator::gelu_tanh},
      {"gelu_fast", Activator::gelu_tanh},
      {"gelu_pytorch_tanh", Activator::gelu_tanh},
      {"quick_gelu", Activator::quick_gelu},
      {"relu", Activator::relu},
  }};
  const std::string name = config.text_or(key, fallback);
  for (const auto& [known, activator] : kActivations)
    if (known == name) return activator;
  config.fail_value(key, "silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu or relu");
}

Architecture llama_like(const Config& c) {
  Architecture a = usual_sizes(c);
  a.norm_eps = c.number_or("rms_norm_eps", 1e-6);
  a.activation = read_activation(c, "hidden_act", "silu");
  a.attention_bias = c.flag_or("attention_bias", false);
  a.attention_out_bias = a.attention_bias;
  a.mlp_bias = c.flag_or("mlp_bias", false);
  a.ropes = {read_rope(c, rotated_channels(c, a.head_dim), a.context_length)};
  return a;
}

const RoleNames& llama_names() {
  static const RoleNames names = {
      {Role::token_embedding, "model.embed_tokens.weight", "token_embd.weight"},
      {Role::ln1, "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
      {Role::ln1_bias, "model.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"},
      {Role::w_q, "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
      {Role::b_q, "model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
      {Role::w_k, "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
      {Role::b_k, "model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
      {Role::w_v, "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
      {Role::b_v, "model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
      {Role::q_norm, "model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
      {Role::k_norm, "model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
      {Role::w_o, "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
      {Role::b_o, "model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
      {Role::ln2, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
      {Role::ln2_bias, "model.layers.{}.post_attention_layernorm.bias", "blk.{}.ffn_norm.bias"},
      {Role::w_gate, "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
      {Role::b_gate, "model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
      {Role::w_up, "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
      {Role::b_up, "model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
      {Role::w_down, "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
      {Role::b_down, "model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
      {Role::router, "model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
      {Role::expert_gate,
       "model.layers.{}.block_sparse_moe.experts.{}.w1.weight",
       {"blk.{}.ffn_gate_exps.weight", Pack::stacked}},
      {Role::expert_up,
       "model.layers.{}.block_sparse_moe.experts.{}.w3.weight",
       {"blk.{}.ffn_up_exps.weight", Pack::stacked}},
      {Role::expert_down,
       "model.layers.{}.block_sparse_moe.experts.{}.w2.weight",
       {"blk.{}.ffn_down_exps.weight", Pack::stacked}},
      {Role::ln_final, "model.norm.weight", "output_norm.weight"},
      {Role::ln_final_bias, "model.norm.bias", "output_norm.bias"},
      {Role::unembedding, "lm_head.weight", "output.weight"},
  };
  return names;
}

}  // namespace spikescope
