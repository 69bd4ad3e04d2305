// The exponential of loops that the compiler vectorises.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/vectorized.h"

namespace spikescope {

/// Below it exponential() is 0: e^x would be no normal float.
constexpr float kLeastExponent = -87.3f;
/// Below it 2^t is no normal float either.
constexpr float kLeastPower = -126.0f;

/// 2^t within 1 ulp for t in [kLeastPower, 127], and 1 for 0: cheaper than e^x where a factor log2(e) costs nothing.
inline float power_of_two(float t) {
  constexpr float kShift = 12582912.0f;  // leaves the nearest integer in the low bits of the mantissa
  const float shifted = t + kShift;
  const float r = t - (shifted - kShift);
  // The polynomial with the least relative error (2e-9) for |r| <= 1/2 among those that are 1 at 0.
  float p = 1.5353361959569156e-4f;
  p = p * r + 1.3398873852565885e-3f;
  p = p * r + 9.61843691766262e-3f;
  p = p * r + 5.5503323674201965e-2f;
  p = p * r + 2.4022647738456726e-1f;
  p = p * r + 6.931471824645996e-1f;
  p = p * r + 1.0f;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
}

/// e^x within 2 ulp for any x: 0 below the range, the largest value of the range above it. Plain arithmetic, so loops
/// over it vectorise.
inline float exponential(float x) {
  const float in_range = std::min(std::max(x, kLeastExponent), 88.7f);
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 leaves n in the low bits of the mantissa.
  constexpr float kShift = 12582912.0f;
  const float shifted = in_range * 1.44269504f + kShift;
  const float n = shifted - kShift;
  const float r = (in_range - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) << 23;
  return x < kLeastExponent ? 0.0f : std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
}

}  // namespace spikescope
