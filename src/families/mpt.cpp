// MPT: layer norms without bias, ALiBi, no biases at all.

#include <cmath>

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  c.expect("no_bias", true);
  c.expect("norm_type", "low_precision_layernorm");
  Architecture a;
  a.n_layers = c.integer("n_layers");
  a.d_model = c.integer("d_model");
  a.n_heads = a.n_kv_heads = c.integer("n_heads");
  a.head_dim = a.n_heads > 0 ? a.d_model / a.n_heads : 0;
  a.mlp_width = c.integer_or("expansion_ratio", 4) * a.d_model;
  a.vocabulary = c.integer("vocab_size");
  a.context_length = c.integer_or("max_seq_len", 2048);
  a.norm = NormKind::layer;
  a.norm_eps = c.number_or("layer_norm_epsilon", 1e-5);
  a.gated = false;
  a.activation = Activator::gelu;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  a.logit_scale = c.number_or("logit_scale", 1.0);
  validate(a, c.what());

  const Config attention = c.object_or_empty("attn_config");
  attention.expect("alibi", true);
  attention.expect("qk_ln", false);
  attention.expect("prefix_lm", false);
  attention.expect("attn_type", "multihead_attention");
  const double most = attention.number_or("alibi_bias_max", 8.0);
  if (!(most > 0.0)) attention.fail_value("alibi_bias_max", "a positive number");
  a.alibi_slopes = alibi_slopes(a.n_heads, most);
  a.attention_scale = attention.number_or("softmax_scale", 1.0 / std::sqrt(static_cast<double>(a.head_dim)));
  a.qkv_clip = attention.number_or("clip_qkv", 0.0);
  return a;
}

}  // namespace

Family mpt_family() {
  constexpr TensorName kQkv("transformer.blocks.{}.attn.Wqkv.weight", Pack::qkv);
  return {"mpt",
          "MPT 7B, 30B",
          {"mpt"},
          from_config,
          "transformer.",
          {{Role::token_embedding, "transformer.wte.weight"},
           {Role::ln1, "transformer.blocks.{}.norm_1.weight"},
           {Role::w_q, kQkv},
           {Role::w_k, kQkv},
           {Role::w_v, kQkv},
           {Role::w_o, "transformer.blocks.{}.attn.out_proj.weight"},
           {Role::ln2, "transformer.blocks.{}.norm_2.weight"},
           {Role::w_up, "transformer.blocks.{}.ffn.up_proj.weight"},
           {Role::w_down, "transformer.blocks.{}.ffn.down_proj.weight"},
           {Role::ln_final, "transformer.norm_f.weight"},
           {Role::unembedding, "lm_head.weight"}}};
}

}  // namespace spikescope
