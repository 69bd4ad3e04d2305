// GPT-2: layer norms, learned positions, a GELU MLP without a gate; weights stored [in, out].

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture gpt2(Architecture a) {
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.gated = false;
  a.activation = Activator::gelu_tanh;
  a.attention_bias = a.attention_out_bias = a.mlp_bias = true;
  a.learned_positions = a.context_length;
  return a;
}

Architecture from_config(const Config& c, const TensorTable&) {
  c.expect("scale_attn_weights", true);
  c.expect("scale_attn_by_inverse_layer_idx", false);
  c.expect("add_cross_attention", false);
  Architecture a;
  a.n_layers = c.integer("n_layer");
  a.d_model = c.integer("n_embd");
  a.n_heads = a.n_kv_heads = c.integer("n_head");
  a.head_dim = a.n_heads > 0 ? a.d_model / a.n_heads : 0;
  a.mlp_width = c.integer_or("n_inner", 4 * a.d_model);
  a.vocabulary = c.integer("vocab_size");
  a.context_length = c.integer_or("n_positions", 1024);
  a.norm_eps = c.number_or("layer_norm_epsilon", 1e-5);
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  validate(a, c.what());
  a = gpt2(std::move(a));
  a.activation = read_activation(c, "activation_function", "gelu_new");
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  return gpt2(usual_gguf(c, tensors, "attention.layer_norm_epsilon"));
}

}  // namespace

Family gpt2_family() {
  constexpr TensorName kQkv("transformer.h.{}.attn.c_attn.weight", Pack::qkv_transposed);
  constexpr TensorName kQkvBias("transformer.h.{}.attn.c_attn.bias", Pack::qkv);
  constexpr TensorName kGgufQkv("blk.{}.attn_qkv.weight", Pack::qkv), kGgufQkvBias("blk.{}.attn_qkv.bias", Pack::qkv);
  return {"gpt2",
          "GPT-2",
          {"gpt2"},
          from_config,
          "transformer.",
          {{Role::token_embedding, "transformer.wte.weight", "token_embd.weight"},
           {Role::position_embedding, "transformer.wpe.weight", "position_embd.weight"},
           {Role::ln1, "transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
           {Role::ln1_bias, "transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias"},
           {Role::w_q, kQkv, kGgufQkv},
           {Role::b_q, kQkvBias, kGgufQkvBias},
           {Role::w_k, kQkv, kGgufQkv},
           {Role::b_k, kQkvBias, kGgufQkvBias},
           {Role::w_v, kQkv, kGgufQkv},
           {Role::b_v, kQkvBias, kGgufQkvBias},
           {Role::w_o, {"transformer.h.{}.attn.c_proj.weight", Pack::transposed}, "blk.{}.attn_output.weight"},
           {Role::b_o, "transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"},
           {Role::ln2, "transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
           {Role::ln2_bias, "transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"},
           {Role::w_up, {"transformer.h.{}.mlp.c_fc.weight", Pack::transposed}, "blk.{}.ffn_up.weight"},
           {Role::b_up, "transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"},
           {Role::w_down, {"transformer.h.{}.mlp.c_proj.weight", Pack::transposed}, "blk.{}.ffn_down.weight"},
           {Role::b_down, "transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"},
           {Role::ln_final, "transformer.ln_f.weight", "output_norm.weight"},
           {Role::ln_final_bias, "transformer.ln_f.bias", "output_norm.bias"},
           {Role::unembedding, "lm_head.weight", "output.weight"}},
          {"gpt2"},
          from_gguf};
}

}  // namespace spikescope
