// IEEE float16 ("half") and float32 arrays into each other, at memory speed where the processor can.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace spikescope {

/// Largest finite float16.
inline constexpr float kFloat16Largest = 65504.0f;

/// Index of the first finite value that float16 cannot hold (|x| > 65,504). Infinities and NaN pass.
std::optional<int64_t> first_beyond_float16(std::span<const float> values);

/// Rounds to nearest, ties to even; what is beyond the range becomes infinity. `out` holds values.size() elements.
void floats_to_float16(std::span<const float> values, uint16_t* out);

/// Exact. `out` holds values.size() elements.
void float16_to_floats(std::span<const uint16_t> values, float* out);

}  // namespace spikescope
