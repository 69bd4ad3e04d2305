// OPT (arXiv 2205.01068): layer norms, learned positions that begin with row 2, a ReLU MLP.

#include "families/llama_like.h"

namespace spikescope {
namespace {

constexpr int64_t kPositionOffset = 2;

Architecture from_config(const Config& c, const TensorTable&) {
  c.expect("do_layer_norm_before", true);
  c.expect("layer_norm_elementwise_affine", true);
  c.expect("_remove_final_layer_norm", false);
  c.expect("word_embed_proj_dim", c.integer("hidden_size"));
  Architecture a = usual_sizes(c);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = 1e-5;
  a.gated = false;
  a.mlp_width = c.integer("ffn_dim");
  a.activation = read_activation(c, "activation_function", "relu");
  a.attention_bias = a.attention_out_bias = a.mlp_bias = c.flag_or("enable_bias", true);
  a.learned_positions = a.context_length + kPositionOffset;
  a.position_offset = kPositionOffset;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  return a;
}

}  // namespace

Family opt_family() {
  return {"opt",
          "OPT (but for 350M)",
          {"opt"},
          from_config,
          "model.",
          {{Role::token_embedding, "model.decoder.embed_tokens.weight"},
           {Role::position_embedding, "model.decoder.embed_positions.weight"},
           {Role::ln1, "model.decoder.layers.{}.self_attn_layer_norm.weight"},
           {Role::ln1_bias, "model.decoder.layers.{}.self_attn_layer_norm.bias"},
           {Role::w_q, "model.decoder.layers.{}.self_attn.q_proj.weight"},
           {Role::b_q, "model.decoder.layers.{}.self_attn.q_proj.bias"},
           {Role::w_k, "model.decoder.layers.{}.self_attn.k_proj.weight"},
           {Role::b_k, "model.decoder.layers.{}.self_attn.k_proj.bias"},
           {Role::w_v, "model.decoder.layers.{}.self_attn.v_proj.weight"},
           {Role::b_v, "model.decoder.layers.{}.self_attn.v_proj.bias"},
           {Role::w_o, "model.decoder.layers.{}.self_attn.out_proj.weight"},
           {Role::b_o, "model.decoder.layers.{}.self_attn.out_proj.bias"},
           {Role::ln2, "model.decoder.layers.{}.final_layer_norm.weight"},
           {Role::ln2_bias, "model.decoder.layers.{}.final_layer_norm.bias"},
           {Role::w_up, "model.decoder.layers.{}.fc1.weight"},
           {Role::b_up, "model.decoder.layers.{}.fc1.bias"},
           {Role::w_down, "model.decoder.layers.{}.fc2.weight"},
           {Role::b_down, "model.decoder.layers.{}.fc2.bias"},
           {Role::ln_final, "model.decoder.final_layer_norm.weight"},
           {Role::ln_final_bias, "model.decoder.final_layer_norm.bias"},
           {Role::unembedding, "lm_head.weight"}}};
}

}  // namespace spikescope
