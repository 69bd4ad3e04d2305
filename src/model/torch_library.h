// LibTorch, which is loaded when something asks for it first.
#pragma once

#include "torch/torch_backend.h"

namespace spikescope {

/// Throws Error where the library of torch/torch_backend.h cannot be loaded.
const SpikescopeTorchBackend& torch_backend();

}  // namespace spikescope
