// ViT (arXiv 2010.11929): images cut into patches, a [CLS] token, learned positions.

#include "base/fail.h"
#include "families/vit_like.h"
#include "model/patch_embedding.h"

namespace spikescope {

Architecture vit_like(const Config& c) {
  Architecture a;
  a.n_layers = c.integer("num_hidden_layers");
  a.d_model = c.integer("hidden_size");
  a.n_heads = a.n_kv_heads = c.integer("num_attention_heads");
  a.head_dim = a.n_heads > 0 ? a.d_model / a.n_heads : 0;
  a.mlp_width = c.integer_or("intermediate_size", 4 * a.d_model);
  a.context_length = 1;  // set_image_positions knows it
  a.patches.size = c.integer("patch_size");
  a.patches.channels = c.integer_or("num_channels", 3);
  a.patches.image = c.integer("image_size");
  a.causal = false;
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = c.number_or("layer_norm_eps", 1e-12);
  a.gated = false;
  a.activation = read_activation(c, "hidden_act", "gelu");
  a.attention_bias = c.flag_or("qkv_bias", true);
  a.attention_out_bias = a.mlp_bias = true;
  a.head = false;
  validate(a, c.what());
  return a;
}

void set_image_positions(Architecture& a) {
  a.context_length = image_tokens(a.patches, a.patches.image);
  a.learned_positions = a.context_length - a.patches.registers;
}

const RoleNames& vit_names() {
  static const RoleNames names = {
      {Role::patch_embedding, {"vit.embeddings.patch_embeddings.projection.weight", Pack::patches}},
      {Role::b_patch_embedding, "vit.embeddings.patch_embeddings.projection.bias"},
      {Role::cls_token, "vit.embeddings.cls_token"},
      {Role::position_embedding, "vit.embeddings.position_embeddings"},
      {Role::ln1, "vit.encoder.layer.{}.layernorm_before.weight"},
      {Role::ln1_bias, "vit.encoder.layer.{}.layernorm_before.bias"},
      {Role::w_q, "vit.encoder.layer.{}.attention.attention.query.weight"},
      {Role::b_q, "vit.encoder.layer.{}.attention.attention.query.bias"},
      {Role::w_k, "vit.encoder.layer.{}.attention.attention.key.weight"},
      {Role::b_k, "vit.encoder.layer.{}.attention.attention.key.bias"},
      {Role::w_v, "vit.encoder.layer.{}.attention.attention.value.weight"},
      {Role::b_v, "vit.encoder.layer.{}.attention.attention.value.bias"},
      {Role::w_o, "vit.encoder.layer.{}.attention.output.dense.weight"},
      {Role::b_o, "vit.encoder.layer.{}.attention.output.dense.bias"},
      {Role::ln2, "vit.encoder.layer.{}.layernorm_after.weight"},
      {Role::ln2_bias, "vit.encoder.layer.{}.layernorm_after.bias"},
      {Role::w_up, "vit.encoder.layer.{}.intermediate.dense.weight"},
      {Role::b_up, "vit.encoder.layer.{}.intermediate.dense.bias"},
      {Role::w_down, "vit.encoder.layer.{}.output.dense.weight"},
      {Role::b_down, "vit.encoder.layer.{}.output.dense.bias"},
      {Role::ln_final, "vit.layernorm.weight"},
      {Role::ln_final_bias, "vit.layernorm.bias"},
      {Role::classifier, "classifier.weight"},
      {Role::b_classifier, "classifier.bias"},
  };
  return names;
}

namespace {

Architecture from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = vit_like(c);
  a.patches.cls = true;
  set_image_positions(a);
  a.pool = Pool::first;
  if (const TensorInfo* classifier = tensors.find("classifier.weight")) a.labels = classifier->shape[0];
  return a;
}

}  // namespace

Family vit_family() { return {"vit", "ViT", {"vit"}, from_config, "vit.", vit_names()}; }

}  // namespace spikescope
