// Rounding in loops that the compiler vectorises.
#pragma once

namespace spikescope {

/// Nearest whole number, ties to even: adding 1.5 * 2^23 leaves no room for a fraction. For |x| < 2^22.
inline float nearest_whole(float x) {
  constexpr float kShift = 12582912.0f;
  return (x + kShift) - kShift;
}

}  // namespace spikescope
