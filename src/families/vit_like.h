// What vision transformers share.
#pragma once

#include "families/llama_like.h"

namespace spikescope {

/// Sizes under the usual keys, patches, layer norms, biases everywhere, no mask. [CLS] and positions are the caller's.
Architecture vit_like(const Config& config);
/// The table of positions for `image` and the tokens that have one; the context is what it holds.
void set_image_positions(Architecture& architecture);
/// ViT's names, after the prefix "vit.".
const RoleNames& vit_names();

}  // namespace spikescope
