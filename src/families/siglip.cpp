// SigLIP (arXiv 2303.15343): both towers see everything; a text is its last token, an image what a learned query finds.

#include "families/clip_like.h"

namespace spikescope {
namespace {

Architecture text_from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = clip_like_text(c);
  a.causal = false;
  a.norm_eps = c.number_or("layer_norm_eps", 1e-6);
  a.activation = read_activation(c, "hidden_act", "gelu_pytorch_tanh");
  a.projection = c.integer_or("projection_size", a.d_model);
  a.projection_bias = true;
  a.contrastive = a.logit_bias = tensors.find("logit_scale") != nullptr;
  a.pool = Pool::last;
  return a;
}

Architecture vision_from_config(const Config& c, const TensorTable& tensors) {
  c.expect("vision_use_head", true);
  Architecture a = clip_like_vision(c);
  a.norm_eps = c.number_or("layer_norm_eps", 1e-6);
  a.activation = read_activation(c, "hidden_act", "gelu_pytorch_tanh");
  a.contrastive = a.logit_bias = tensors.find("logit_scale") != nullptr;
  a.pool = Pool::attention;
  set_image_positions(a);
  return a;
}

}  // namespace

Family siglip_text_family() {
  return {
      "siglip_text",
      "SigLIP's text tower",
      {"siglip_text_model"},
      text_from_config,
      "tower.",
      with(clip_like_text_names(), {{Role::projection, "tower.head.weight"}, {Role::b_projection, "tower.head.bias"}}),
      {},
      nullptr,
      false,
      {"text_model."}};
}

Family siglip_vision_family() {
  return {"siglip_vision",
          "SigLIP's image tower",
          {"siglip_vision_model"},
          vision_from_config,
          "tower.",
          with(clip_like_vision_names(), {{Role::pool_query, "tower.head.probe"},
                                          {Role::pool_qkv, "tower.head.attention.in_proj_weight"},
                                          {Role::b_pool_qkv, "tower.head.attention.in_proj_bias"},
                                          {Role::pool_out, "tower.head.attention.out_proj.weight"},
                                          {Role::b_pool_out, "tower.head.attention.out_proj.bias"},
                                          {Role::pool_norm, "tower.head.layernorm.weight"},
                                          {Role::pool_norm_bias, "tower.head.layernorm.bias"},
                                          {Role::pool_up, "tower.head.mlp.fc1.weight"},
                                          {Role::b_pool_up, "tower.head.mlp.fc1.bias"},
                                          {Role::pool_down, "tower.head.mlp.fc2.weight"},
                                          {Role::b_pool_down, "tower.head.mlp.fc2.bias"}}),
          {},
          nullptr,
          false,
          {"vision_model."}};
}

}  // namespace spikescope
