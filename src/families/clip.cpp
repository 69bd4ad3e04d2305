// CLIP (arXiv 2103.00020): a causal text tower that ends with its end-of-text token, and a ViT with a norm before its
// first block; what they give is projected and compared.

#include "families/clip_like.h"

namespace spikescope {

Architecture clip_like_text(const Config& c) {
  Architecture a = usual_sizes(c);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.gated = false;
  a.attention_bias = a.attention_out_bias = a.mlp_bias = true;
  a.learned_positions = a.context_length;
  a.contrastive = true;
  a.head = false;
  return a;
}

Architecture clip_like_vision(const Config& c) {
  Architecture a = vit_like(c);
  a.contrastive = true;
  return a;
}

namespace {

/// What is the same in both towers.
const RoleNames& block_names() {
  static const RoleNames names = {
      {Role::ln1, "tower.encoder.layers.{}.layer_norm1.weight"},
      {Role::ln1_bias, "tower.encoder.layers.{}.layer_norm1.bias"},
      {Role::w_q, "tower.encoder.layers.{}.self_attn.q_proj.weight"},
      {Role::b_q, "tower.encoder.layers.{}.self_attn.q_proj.bias"},
      {Role::w_k, "tower.encoder.layers.{}.self_attn.k_proj.weight"},
      {Role::b_k, "tower.encoder.layers.{}.self_attn.k_proj.bias"},
      {Role::w_v, "tower.encoder.layers.{}.self_attn.v_proj.weight"},
      {Role::b_v, "tower.encoder.layers.{}.self_attn.v_proj.bias"},
      {Role::w_o, "tower.encoder.layers.{}.self_attn.out_proj.weight"},
      {Role::b_o, "tower.encoder.layers.{}.self_attn.out_proj.bias"},
      {Role::ln2, "tower.encoder.layers.{}.layer_norm2.weight"},
      {Role::ln2_bias, "tower.encoder.layers.{}.layer_norm2.bias"},
      {Role::w_up, "tower.encoder.layers.{}.mlp.fc1.weight"},
      {Role::b_up, "tower.encoder.layers.{}.mlp.fc1.bias"},
      {Role::w_down, "tower.encoder.layers.{}.mlp.fc2.weight"},
      {Role::b_down, "tower.encoder.layers.{}.mlp.fc2.bias"},
      {Role::logit_scale, "logit_scale"},
      {Role::logit_bias, "logit_bias"},
  };
  return names;
}

}  // namespace

const RoleNames& clip_like_text_names() {
  static const RoleNames names = with({{Role::token_embedding, "tower.embeddings.token_embedding.weight"},
                                       {Role::position_embedding, "tower.embeddings.position_embedding.weight"},
                                       {Role::ln_final, "tower.final_layer_norm.weight"},
                                       {Role::ln_final_bias, "tower.final_layer_norm.bias"}},
                                      block_names());
  return names;
}

const RoleNames& clip_like_vision_names() {
  static const RoleNames names =
      with({{Role::patch_embedding, {"tower.embeddings.patch_embedding.weight", Pack::patches}},
            {Role::b_patch_embedding, "tower.embeddings.patch_embedding.bias"},
            {Role::cls_token, "tower.embeddings.class_embedding"},
            {Role::position_embedding, "tower.embeddings.position_embedding.weight"},
            {Role::embedding_norm, "tower.pre_layrnorm.weight"},
            {Role::embedding_norm_bias, "tower.pre_layrnorm.bias"},
            {Role::ln_final, "tower.post_layernorm.weight"},
            {Role::ln_final_bias, "tower.post_layernorm.bias"}},
           block_names());
  return names;
}

namespace {

Architecture text_from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = clip_like_text(c);
  a.norm_eps = c.number_or("layer_norm_eps", 1e-5);
  a.activation = read_activation(c, "hidden_act", "quick_gelu");
  a.projection = c.integer_or("projection_dim", 512);
  a.contrastive = tensors.find("logit_scale") != nullptr;
  a.pool = Pool::end;
  // Checkpoints from before the id was right say 2, and mean the largest id of a text.
  constexpr int64_t kWrong = 2;
  a.end_token = c.integer_or("eos_token_id", kWrong);
  if (a.end_token == kWrong) a.end_token = -1;
  return a;
}

Architecture vision_from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = clip_like_vision(c);
  a.norm_eps = c.number_or("layer_norm_eps", 1e-5);
  a.activation = read_activation(c, "hidden_act", "quick_gelu");
  a.patches.cls = true;
  a.patches.bias = false;
  a.embedding_norm = true;
  a.projection = c.integer_or("projection_dim", 512);
  a.contrastive = tensors.find("logit_scale") != nullptr;
  a.pool = Pool::first_normed;
  set_image_positions(a);
  return a;
}

}  // namespace

Family clip_text_family() {
  return {"clip_text",
          "CLIP's text tower",
          {"clip_text_model"},
          text_from_config,
          "tower.",
          with(clip_like_text_names(), {{Role::projection, "text_projection.weight"}}),
          {},
          nullptr,
          false,
          {"text_model."}};
}

Family clip_vision_family() {
  return {"clip_vision",
          "CLIP's image tower",
          {"clip_vision_model"},
          vision_from_config,
          "tower.",
          with(clip_like_vision_names(), {{Role::projection, "visual_projection.weight"}}),
          {},
          nullptr,
          false,
          {"vision_model."}};
}

}  // namespace spikescope
