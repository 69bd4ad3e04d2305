// BLOOM (arXiv 2211.05100): layer norms, one of them on the embedding, ALiBi, a GELU MLP.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  c.expect("apply_residual_connection_post_layernorm", false);
  Architecture a;
  a.n_layers = c.integer_or("n_layer", c.integer_or("num_hidden_layers", 0));
  a.d_model = c.integer_or("hidden_size", c.integer_or("n_embed", 0));
  a.n_heads = a.n_kv_heads = c.integer_or("n_head", c.integer_or("num_attention_heads", 0));
  a.head_dim = a.n_heads > 0 ? a.d_model / a.n_heads : 0;
  a.mlp_width = 4 * a.d_model;
  a.vocabulary = c.integer("vocab_size");
  a.context_length = c.integer_or("seq_length", 2048);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = c.number_or("layer_norm_epsilon", 1e-5);
  a.embedding_norm = true;
  a.gated = false;
  a.activation = Activator::gelu_tanh;
  a.attention_bias = a.attention_out_bias = a.mlp_bias = true;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  validate(a, c.what());
  a.alibi_slopes = alibi_slopes(a.n_heads);
  return a;
}

}  // namespace

Family bloom_family() {
  constexpr TensorName kQkv("transformer.h.{}.self_attention.query_key_value.weight", Pack::qkv_by_group);
  constexpr TensorName kQkvBias("transformer.h.{}.self_attention.query_key_value.bias", Pack::qkv_by_group);
  return {"bloom",
          "BLOOM, BLOOMZ",
          {"bloom"},
          from_config,
          "transformer.",
          {{Role::token_embedding, "transformer.word_embeddings.weight"},
           {Role::embedding_norm, "transformer.word_embeddings_layernorm.weight"},
           {Role::embedding_norm_bias, "transformer.word_embeddings_layernorm.bias"},
           {Role::ln1, "transformer.h.{}.input_layernorm.weight"},
           {Role::ln1_bias, "transformer.h.{}.input_layernorm.bias"},
           {Role::w_q, kQkv},
           {Role::b_q, kQkvBias},
           {Role::w_k, kQkv},
           {Role::b_k, kQkvBias},
           {Role::w_v, kQkv},
           {Role::b_v, kQkvBias},
           {Role::w_o, "transformer.h.{}.self_attention.dense.weight"},
           {Role::b_o, "transformer.h.{}.self_attention.dense.bias"},
           {Role::ln2, "transformer.h.{}.post_attention_layernorm.weight"},
           {Role::ln2_bias, "transformer.h.{}.post_attention_layernorm.bias"},
           {Role::w_up, "transformer.h.{}.mlp.dense_h_to_4h.weight"},
           {Role::b_up, "transformer.h.{}.mlp.dense_h_to_4h.bias"},
           {Role::w_down, "transformer.h.{}.mlp.dense_4h_to_h.weight"},
           {Role::b_down, "transformer.h.{}.mlp.dense_4h_to_h.bias"},
           {Role::ln_final, "transformer.ln_f.weight"},
           {Role::ln_final_bias, "transformer.ln_f.bias"},
           {Role::unembedding, "lm_head.weight"}}};
}

}  // namespace spikescope
