// What most families share: the keys of their config, the names of their tensors, and GGUF's, which are the same for
// all.
#pragma once

#include "families/family.h"
#include "families/rope_config.h"

namespace spikescope {

/// Sizes under the usual keys (hidden_size, num_attention_heads, ...), checked. No positions yet.
Architecture usual_sizes(const Config& config);
/// Sizes from GGUF metadata ("block_count", ...) and tied embeddings, biases and the vocabulary from the tensors,
/// checked. `eps_key` is where the norm's epsilon stands.
Architecture usual_gguf(const Config& metadata, const TensorTable& tensors,
                        std::string_view eps_key = "attention.layer_norm_rms_epsilon");
/// The activation under `key`.
Activator read_activation(const Config& config, std::string_view key, const std::string& fallback);

/// LLaMA's config: usual sizes, RMSNorm, SiLU, RoPE, biases by flag.
Architecture llama_like(const Config& config);
/// LLaMA's tensors, with the names that other families of its kind use for what it does not have.
const RoleNames& llama_names();

}  // namespace spikescope
