// DeiT (arXiv 2012.12877): ViT with a second special token, whose classifier was taught by another network.

#include "families/vit_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable& tensors) {
  Architecture a = vit_like(c);
  a.patches.cls = a.patches.distillation = true;
  set_image_positions(a);
  a.pool = Pool::first;
  if (const TensorInfo* both = tensors.find("distillation_classifier.weight")) {
    a.labels = both->shape[0];
    a.distillation_classifier = true;
  } else if (const TensorInfo* classifier = tensors.find("classifier.weight")) {
    a.labels = classifier->shape[0];
  }
  return a;
}

}  // namespace

Family deit_family() {
  return {"deit",
          "DeiT",
          {"deit"},
          from_config,
          "vit.",
          with(vit_names(), {{Role::distillation_token, "vit.embeddings.distillation_token"},
                             {Role::classifier, "cls_classifier.weight|classifier.weight"},
                             {Role::b_classifier, "cls_classifier.bias|classifier.bias"},
                             {Role::distillation_classifier, "distillation_classifier.weight"},
                             {Role::b_distillation_classifier, "distillation_classifier.bias"}}),
          {},
          nullptr,
          false,
          {"deit."}};
}

}  // namespace spikescope
