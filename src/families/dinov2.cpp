// DINOv2 (arXiv 2304.07193): ViT with LayerScale and, in the largest size, a SwiGLU MLP; with or without register
// tokens (arXiv 2309.16588). Positions follow the image's size.

#include "families/vit_like.h"

namespace spikescope {
namespace {

/// Width of the SwiGLU MLP: two thirds of the plain one, in eights.
int64_t gated_width(int64_t plain) { return (plain * 2 / 3 + 7) / 8 * 8; }

Architecture from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = vit_like(c);
  a.patches.cls = true;
  a.patches.registers = c.integer_or("num_register_tokens", 0);
  a.patches.resize = a.patches.registers > 0 ? Patches::Resize::bicubic_antialias : Patches::Resize::bicubic;
  a.layer_scale = true;
  const double ratio = c.number_or("mlp_ratio", 4.0);
  if (!(ratio > 0.0 && ratio < 1024.0)) c.fail_value("mlp_ratio", "a number from 0 to 1024");
  a.mlp_width = static_cast<int64_t>(static_cast<double>(a.d_model) * ratio);
  if (c.flag_or("use_swiglu_ffn", false)) {
    a.gated = true;
    a.activation = Activator::silu;
    a.mlp_width = gated_width(a.mlp_width);
  }
  validate(a, c.what());
  set_image_positions(a);
  a.pool = Pool::first;
  if (const TensorInfo* classifier = tensors.find("classifier.weight")) {
    a.labels = classifier->shape[0];
    a.pool = Pool::first_and_mean;
  }
  return a;
}

}  // namespace

Family dinov2_family() {
  constexpr TensorName kUp("vit.encoder.layer.{}.mlp.fc1.weight|vit.encoder.layer.{}.mlp.weights_in.weight",
                           Pack::gate_up);
  constexpr TensorName kUpBias("vit.encoder.layer.{}.mlp.fc1.bias|vit.encoder.layer.{}.mlp.weights_in.bias",
                               Pack::gate_up);
  return {"dinov2",
          "DINOv2, with and without registers",
          {"dinov2", "dinov2_with_registers"},
          from_config,
          "vit.",
          with(vit_names(),
               {{Role::register_tokens, "vit.embeddings.register_tokens"},
                {Role::ln1, "vit.encoder.layer.{}.norm1.weight"},
                {Role::ln1_bias, "vit.encoder.layer.{}.norm1.bias"},
                {Role::ln1_scale, "vit.encoder.layer.{}.layer_scale1.lambda1"},
                {Role::ln2, "vit.encoder.layer.{}.norm2.weight"},
                {Role::ln2_bias, "vit.encoder.layer.{}.norm2.bias"},
                {Role::ln2_scale, "vit.encoder.layer.{}.layer_scale2.lambda1"},
                {Role::w_gate, kUp},
                {Role::b_gate, kUpBias},
                {Role::w_up, kUp},
                {Role::b_up, kUpBias},
                {Role::w_down, "vit.encoder.layer.{}.mlp.fc2.weight|vit.encoder.layer.{}.mlp.weights_out.weight"},
                {Role::b_down, "vit.encoder.layer.{}.mlp.fc2.bias|vit.encoder.layer.{}.mlp.weights_out.bias"}}),
          {},
          nullptr,
          false,
          {"dinov2.", "dinov2_with_registers."}};
}

}  // namespace spikescope
