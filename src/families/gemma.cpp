// Gemma 1: LLaMA with a GELU gate, norms that store gain - 1, and embeddings times sqrt(d).

#include <cmath>

#include "families/gemma_like.h"

namespace spikescope {

Architecture gemma_like(const Config& c) {
  Architecture a = usual_sizes(c);
  a.norm_eps = c.number_or("rms_norm_eps", 1e-6);
  a.norm_gain_offset = true;
  a.embedding_scale = std::sqrt(static_cast<double>(a.d_model));
  // Old configs say "gelu" under hidden_act and mean the tanh form, which hidden_activation names.
  a.activation = c.has("hidden_activation") ? read_activation(c, "hidden_activation", "") : Activator::gelu_tanh;
  a.attention_bias = c.flag_or("attention_bias", false);
  a.attention_out_bias = a.attention_bias;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  return a;
}

Architecture gemma_like_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = usual_gguf(c, tensors);
  a.embedding_scale = std::sqrt(static_cast<double>(a.d_model));
  a.activation = Activator::gelu_tanh;
  return a;
}

RoleNames sandwich_names() {
  return with(llama_names(),
              {{Role::ln1_post, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
               {Role::ln2, "model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight"},
               {Role::ln2_post, "model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"}});
}

namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = gemma_like(c);
  a.ropes = {read_rope(c, a.head_dim, a.context_length)};
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = gemma_like_gguf(c, tensors);
  a.ropes = {read_gguf_rope(c, tensors, a.head_dim, a.context_length)};
  return a;
}

}  // namespace

Family gemma_family() {
  return {"gemma", "Gemma 1", {"gemma"}, from_config, "model.", llama_names(), {"gemma"}, from_gguf};
}

}  // namespace spikescope
