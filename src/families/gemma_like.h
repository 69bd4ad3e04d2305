// What Gemma 1 to 3 share.
#pragma once

#include "families/llama_like.h"

namespace spikescope {

/// LLaMA with a GELU gate, norms that store gain - 1, and embeddings times sqrt(d).
Architecture gemma_like(const Config& config);
/// The same from GGUF, where the norms' gains are whole.
Architecture gemma_like_gguf(const Config& metadata, const TensorTable& tensors);
/// LLaMA's names, with Gemma 2's for its four norms.
RoleNames sandwich_names();

}  // namespace spikescope
