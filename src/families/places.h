// Where a weight lies in its tensor, given how the family packs it.
#pragma once

#include "families/family.h"

namespace spikescope {

/// Hugging Face's names begin with the family's prefix, in whose place the checkpoint may have another.
struct Prefix {
  std::string_view in_names, in_checkpoint;
};

/// Throws Error where the family has no name for the role.
WeightPlace place_of(const Architecture& architecture, const TensorTable& tensors, const WeightKey& key,
                     const TensorName& name, const Prefix& prefix);

}  // namespace spikescope
