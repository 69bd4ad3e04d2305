// The blocks that CLIP's and SigLIP's towers are made of.
#pragma once

#include "families/vit_like.h"

namespace spikescope {

/// A text tower: layer norms, learned positions, an MLP without a gate.
Architecture clip_like_text(const Config& config);
/// An image tower.
Architecture clip_like_vision(const Config& config);
/// A tower's names, after "tower.", in whose place checkpoints have "text_model." or "vision_model.".
const RoleNames& clip_like_text_names();
const RoleNames& clip_like_vision_names();

}  // namespace spikescope
