// From images to what enters the first block of a vision transformer.
#pragma once

#include <vector>

#include "model/batch.h"
#include "model/weights.h"

namespace spikescope {

/// Patches of an image of `side` x `side` pixels; 0 where it is smaller than a patch.
int64_t patch_count(const Patches& patches, int64_t side);
/// Tokens of such an image.
inline int64_t image_tokens(const Patches& patches, int64_t side) {
  return patches.special() + patch_count(patches, side);
}

/// A table of positions [from * from, d] resized to [to * to, d] by bicubic interpolation (pixel centres aligned, edges
/// repeated). Without antialias the kernel has a = -0.75; with it a = -0.5, stretched when `to` is smaller, and weights
/// that sum to 1.
std::vector<float> resized_positions(const std::vector<float>& table, int64_t from, int64_t to, int64_t d,
                                     bool antialias);

/// Tokens of all images before positions, [N, d]: special tokens, then patches row by row. Throws Error as
/// ModelWeights::read_rows does.
std::vector<float> patch_tokens(const ModelWeights& weights, const Pixels& pixels);
/// Positions of one image's tokens, [tokens, d], 0 where a token has none. Throws Error when the model has none for
/// this size.
std::vector<float> patch_positions(const ModelWeights& weights, int64_t side);

}  // namespace spikescope
