// The gated MLP's activation.
#pragma once

#include <cstdint>

#include "model/architecture.h"

namespace spikescope {

/// post = activation(gate) * up, for rows of `width` values. `post` may be `gate`.
void gated_activation(Activator activation, const float* gate, const float* up, int64_t rows, int64_t width,
                      int64_t gate_stride, int64_t up_stride, float* post, int64_t post_stride);

}  // namespace spikescope
