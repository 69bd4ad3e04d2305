// The blocks that CLIP's and SigLIP's towers are made of.
#pragma once

#include "families/vit_like.h"

namespace spikescope {

/// A text tower: layer norms, learned positions, an MLP without a gate.
Architecture clip_like_text(const Config& config);
/// An image tower.
Architecture clip_like_vision(const Config& config);
/// Names of a tower's blocks after `tower`, "text_model." or "vision_model."; the embedding of tokens or patches first.
const RoleNames& clip_like_text_names();
const RoleNames& clip_like_vision_names();

}  // namespace spikescope
