// Falcon (arXiv 2311.16867), all three kinds: 7B (attention and MLP side by side on one norm, one KV head), 40B (two
// norms, KV heads for groups), and RW (one after the other, ALiBi).

#include <cmath>

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  const bool grouped = c.flag_or("new_decoder_architecture", false);
  const bool multi_query = c.flag_or("multi_query", true);
  Architecture a;
  a.n_layers = c.integer_or("num_hidden_layers", c.integer_or("n_layer", 0));
  a.d_model = c.integer("hidden_size");
  a.n_heads = c.integer_or("num_attention_heads", c.integer_or("n_head", 0));
  const int64_t kv_heads = c.integer_or("num_kv_heads", c.integer_or("n_head_kv", a.n_heads));
  a.n_kv_heads = grouped ? kv_heads : multi_query ? 1 : a.n_heads;
  a.head_dim = a.n_heads > 0 ? a.d_model / a.n_heads : 0;
  a.mlp_width = c.integer_or("ffn_hidden_size", 4 * a.d_model);
  a.vocabulary = c.integer("vocab_size");
  a.context_length = c.integer_or("max_position_embeddings", 2048);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = c.number_or("layer_norm_epsilon", 1e-5);
  a.gated = false;
  a.activation = read_activation(c, "activation", "gelu");
  a.attention_bias = a.attention_out_bias = a.mlp_bias = c.flag_or("bias", false);
  a.parallel = grouped || c.flag_or("parallel_attn", true);
  const int64_t norms = c.integer_or("num_ln_in_parallel_attn", grouped ? 2 : 1);
  a.shared_norm = a.parallel && norms == 1;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  validate(a, c.what());
  if (c.flag_or("alibi", false)) {
    // Added before the scores are scaled.
    for (const double slope : alibi_slopes(a.n_heads))
      a.alibi_slopes.push_back(slope / std::sqrt(static_cast<double>(a.head_dim)));
  } else {
    a.ropes = {read_rope(c, a.head_dim, a.context_length)};
  }
  return a;
}

}  // namespace

Family falcon_family() {
  constexpr TensorName kQkv("transformer.h.{}.self_attention.query_key_value.weight", Pack::qkv_by_group);
  constexpr TensorName kQkvBias("transformer.h.{}.self_attention.query_key_value.bias", Pack::qkv_by_group);
  return {"falcon",
          "Falcon 7B, 40B, RW 1B",
          {"falcon", "RefinedWeb", "RefinedWebModel"},
          from_config,
          "transformer.",
          {{Role::token_embedding, "transformer.word_embeddings.weight"},
           {Role::ln1, "transformer.h.{}.input_layernorm.weight|transformer.h.{}.ln_attn.weight"},
           {Role::ln1_bias, "transformer.h.{}.input_layernorm.bias|transformer.h.{}.ln_attn.bias"},
           {Role::w_q, kQkv},
           {Role::b_q, kQkvBias},
           {Role::w_k, kQkv},
           {Role::b_k, kQkvBias},
           {Role::w_v, kQkv},
           {Role::b_v, kQkvBias},
           {Role::w_o, "transformer.h.{}.self_attention.dense.weight"},
           {Role::b_o, "transformer.h.{}.self_attention.dense.bias"},
           {Role::ln2, "transformer.h.{}.post_attention_layernorm.weight|transformer.h.{}.ln_mlp.weight"},
           {Role::ln2_bias, "transformer.h.{}.post_attention_layernorm.bias|transformer.h.{}.ln_mlp.bias"},
           {Role::w_up, "transformer.h.{}.mlp.dense_h_to_4h.weight"},
           {Role::b_up, "transformer.h.{}.mlp.dense_h_to_4h.bias"},
           {Role::w_down, "transformer.h.{}.mlp.dense_4h_to_h.weight"},
           {Role::b_down, "transformer.h.{}.mlp.dense_4h_to_h.bias"},
           {Role::ln_final, "transformer.ln_f.weight"},
           {Role::ln_final_bias, "transformer.ln_f.bias"},
           {Role::unembedding, "lm_head.weight"}}};
}

}  // namespace spikescope
