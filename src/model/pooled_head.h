// What a model says of whole prompts: pooled states, classes, and embeddings for comparison.
#pragma once

#include <vector>

#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/weights.h"

namespace spikescope {

/// Reports `pooled`, `embeds`, `cls_logits`, `distillation_logits` and `logits` of every prompt, as far as the
/// architecture has them and hooks want them. `states` [N, d]: what leaves the final norm or, with Pool::first_normed,
/// the last block. Throws Error as ModelWeights::read_rows does.
void run_pooled_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks,
                     const std::vector<float>& states);
/// Whether hooks want any of it.
bool wants_pooled_head(const Architecture& architecture, const Hooks& hooks);

/// Comparison of texts with images (CLIP, arXiv 2103.00020; SigLIP, arXiv 2303.15343): rows made to length 1, and
/// logits_per_image [images, texts] = exp(scale) image . text + bias.
struct Contrast {
  std::vector<float> text_embeds, image_embeds;  ///< [texts, size], [images, size]
  std::vector<float> logits_per_image;           ///< [images, texts]
};
/// `weights`: of the text tower. Throws Error when the sizes differ.
Contrast contrast(const ModelWeights& weights, std::vector<float> text_embeds, std::vector<float> image_embeds);

}  // namespace spikescope
