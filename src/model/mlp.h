// The MLP's activation.
#pragma once

#include <cstdint>

#include "model/architecture.h"

namespace spikescope {

/// post = activation(gate) * up, for rows of `width` values. `post` may be `gate`. Errors: a few float32 ulp of the
/// larger of |gate| and 1.
void gated_activation(Activator activation, const float* gate, const float* up, int64_t rows, int64_t width,
                      int64_t gate_stride, int64_t up_stride, float* post, int64_t post_stride);
/// post = activation(pre), the same without a gate.
void plain_activation(Activator activation, const float* pre, int64_t rows, int64_t width, int64_t pre_stride,
                      float* post, int64_t post_stride);

/// x[i] = c tanh(x[i] / c) (Gemma 2's soft cap).
void soft_cap(float* x, int64_t count, double c);

}  // namespace spikescope
