#include "io/float16.h"

#include <algorithm>
#include <bit>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spikescope {
namespace {

uint16_t float16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | static_cast<uint16_t>(magnitude >> 13 & 0x3ff);  // quiet NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65,520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14 float16 is fixed point with steps of 2^-24. Adding 0.5, whose own steps are 2^-24, makes the
    // processor round.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f));
  }
  // Exponent bias from 127 to 15, mantissa from 23 to 10 bits; a carry out of the mantissa moves the exponent as it
  // should.
  const uint32_t odd = magnitude >> 13 & 1;
  return sign | static_cast<uint16_t>((magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

float float_from_float16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) {
    const uint32_t mantissa = magnitude & 0x3ff;
    return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
  }
  if (magnitude >= 0x400) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
  return std::copysign(static_cast<float>(magnitude) * 0x1p-24f, sign ? -1.0f : 1.0f);
}

#if defined(__x86_64__)
// Compiled for F16C whatever the build's own target is, and called only where the processor has it.
__attribute__((target("avx,f16c"))) size_t to_float16_f16c(const float* in, size_t n, uint16_t* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), halves);
  }
  return i;
}

__attribute__((target("avx,f16c"))) size_t from_float16_f16c(const uint16_t* in, size_t n, float* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  }
  return i;
}

bool has_f16c() {
  // Every processor with AVX2 has F16C, which not every compiler can ask for by name.
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
#endif

}  // namespace

std::optional<int64_t> first_beyond_float16(std::span<const float> values) {
  // On the bits, as integers, and by blocks without early exit: so that the compiler can vectorize the search through
  // values that are nearly all fine.
  constexpr int32_t kLargest = std::bit_cast<int32_t>(kFloat16Largest), kInfinite = 0x7f800000;
  const auto beyond = [](float value) {
    const int32_t magnitude = std::bit_cast<int32_t>(value) & 0x7fffffff;
    return static_cast<int32_t>(magnitude > kLargest) & static_cast<int32_t>(magnitude < kInfinite);
  };
  constexpr size_t kBlock = 4096;
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    int32_t found = 0;
    for (const float value : block) found |= beyond(value);
    for (size_t i = 0; found && i < block.size(); ++i) {
      if (beyond(block[i])) return static_cast<int64_t>(begin + i);
    }
  }
  return std::nullopt;
}

void floats_to_float16(std::span<const float> values, uint16_t* out) {
  size_t i = 0;
#if defined(__x86_64__)
  if (has_f16c()) i = to_float16_f16c(values.data(), values.size(), out);
#endif
  for (; i < values.size(); ++i) out[i] = float16_from_float(values[i]);
}

void float16_to_floats(std::span<const uint16_t> values, float* out) {
  size_t i = 0;
#if defined(__x86_64__)
  if (has_f16c()) i = from_float16_f16c(values.data(), values.size(), out);
#endif
  for (; i < values.size(); ++i) out[i] = float_from_float16(values[i]);
}

}  // namespace spikescope
