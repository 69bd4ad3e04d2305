// LibTorch, which is loaded when something asks for it first.
#pragma once

#include "torch/torch_backend.h"

namespace spikescope {

/// Throws Error where the library of torch/torch_backend.h cannot be loaded.
const SpikescopeTorchBackend& torch_backend();
/// The same, for a call on this thread: in pieces of a parallel_for LibTorch is to start no threads of its own.
const SpikescopeTorchBackend& torch_backend_here();

}  // namespace spikescope
