// The exponential of loops that the compiler vectorises.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/vectorized.h"

namespace spikescope {

/// Below it exponential() is 0: e^x would be no normal float.
constexpr float kLeastExponent = -87.3f;

/// e^x within 2 ulp for x in [kLeastExponent, 88.7]; plain arithmetic, so loops over it vectorise.
inline float exponential_in_range(float x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 leaves n in the low bits of the mantissa.
  constexpr float kShift = 12582912.0f;
  const float shifted = x * 1.44269504f + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
}

/// e^x for any x: 0 below the range, the largest value of the range above it.
inline float exponential(float x) {
  const float e = exponential_in_range(std::min(std::max(x, kLeastExponent), 88.7f));
  return x < kLeastExponent ? 0.0f : e;
}

}  // namespace spikescope
