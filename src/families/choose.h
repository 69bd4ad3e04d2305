// Which family a checkpoint belongs to, and what to say when it is none that is known.
#pragma once

#include "families/family.h"

namespace spikescope {

enum class Format : uint8_t { huggingface, gguf };

/// The family that `type` (config.json's model_type, GGUF's general.architecture) or, where it is given, `as` names.
/// Throws Error that names the nearest family, and what of the config and the tensors it does not understand.
const Family& choose_family(Format format, const std::string& type, const std::string& as, const Config& config,
                            const TensorTable& tensors);

/// The role's names; Error where the family has none.
const RoleName& name_of(const Family& family, Role role);

}  // namespace spikescope
