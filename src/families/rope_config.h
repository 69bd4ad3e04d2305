// RoPE settings as config.json files spell them, shared by the families that rotate.
#pragma once

#include <string>

#include "io/json.h"
#include "model/architecture.h"

namespace spikescope {

/// From `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (transformers 4): types default, linear,
/// llama3 and yarn. `dims`: rotated channels of a head. Throws Error for another type or a parameter that makes no
/// sense.
Rope read_rope(const Json& config, int64_t dims, int64_t context_length, const std::string& what);

/// From GGUF metadata under `prefix` ("llama.rope."), with the tensor rope_freqs.weight applied by the caller.
Rope read_gguf_rope(const Json& metadata, const std::string& architecture, int64_t dims, int64_t context_length,
                    const std::string& what);

}  // namespace spikescope
