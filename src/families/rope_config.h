// Positions as config.json files and GGUF metadata spell them, shared by the families that rotate or slide.
#pragma once

#include <functional>

#include "families/config.h"
#include "io/tensor_table.h"
#include "model/architecture.h"

namespace spikescope {

/// From `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (transformers 4): types default, linear,
/// dynamic, llama3, yarn and longrope. `dims`: rotated channels of a head. Throws Error for another type or a parameter
/// that makes no sense.
Rope read_rope(const Config& config, int64_t dims, int64_t context_length);
/// The same from one set of parameters, with `theta` where they name none.
Rope read_rope_parameters(const Config& parameters, double theta, int64_t dims, int64_t context_length);
/// Rotated channels of a head: the share `partial_rotary_factor` of them, wherever the config has it.
int64_t rotated_channels(const Config& config, int64_t head_dim);
/// DeepSeek's further factor on the attention scale where YaRN stretches the context; 1 elsewhere.
double yarn_attention_scale(const Config& config);

/// From GGUF metadata, "rope." keys and the tensors rope_freqs.weight or rope_factors_*.weight.
Rope read_gguf_rope(const Config& metadata, const TensorTable& tensors, int64_t dims, int64_t context_length);

/// Sets the window of the blocks that slide: those that `layer_types` names or, where the config has none, those for
/// which `slides` says so. `window`: keys a query sees; 0 leaves all as they are.
void set_windows(Architecture& architecture, const Config& config, int64_t window,
                 const std::function<bool(int64_t layer)>& slides);

}  // namespace spikescope
