// What DeepSeek V2 and V3 share: latent attention and a mixture of experts after the first blocks.
#pragma once

#include "families/llama_like.h"

namespace spikescope {

Architecture deepseek_like(const Config& config);
RoleNames deepseek_names();

}  // namespace spikescope
