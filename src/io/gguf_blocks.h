// Conversion of stored values to float32, one function a format: `blocks` consecutive blocks from `data` (no alignment
// needed) to `out`. Internal to io: the table in value_format.cpp is the way in.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

// The loops are plain code that the compiler vectorises. Versions for wider registers (target_clones) gained 0 to 5 %
// on matrices of a layer's size, where memory is the limit. All formats multiply and add numbers whose product is exact
// in float32, or do a single multiplication, so a compiler that fuses the two gives the same bits.

namespace spikescope {

static_assert(std::endian::native == std::endian::little,
              "checkpoint files are little-endian and are used as they lie");

/// An IEEE half-precision number, exactly: subnormals, infinities and the bits of NaNs included.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;  // exponent and mantissa in float32's places
  // Exponents differ by 127 - 15; infinity and NaN (all ones) move by twice that, to all ones again. Masks instead of
  // ?: because a branch would keep loops from vectorising.
  const uint32_t not_finite = -static_cast<uint32_t>(magnitude >= 0x0f800000u);
  const uint32_t normal = magnitude + 0x38000000u + (0x38000000u & not_finite);
  // A subnormal has no leading one: give it one, worth 2^-14, and take that off again.
  const float subnormal = std::bit_cast<float>(magnitude + 0x38800000u) - std::bit_cast<float>(0x38800000u);
  const uint32_t is_subnormal = -static_cast<uint32_t>(magnitude < 0x00800000u);
  const uint32_t bits = (std::bit_cast<uint32_t>(subnormal) & is_subnormal) | (normal & ~is_subnormal);
  return std::bit_cast<float>(bits | sign);
}

inline float load_half(const std::byte* data) {
  uint16_t half;
  std::memcpy(&half, data, sizeof half);
  return half_to_float(half);
}

using TableOf16 = int8_t[16];

/// The 16 numbers that four bits of IQ4_NL and IQ4_XS choose from.
inline constexpr TableOf16 kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// 32 values from 16 bytes of 4-bit indices into a table, low halves first.
inline void look_up_nibbles(const std::byte* data, const TableOf16& table, float scale, float* out) {
  for (int i = 0; i < 16; ++i) {
    const auto pair = static_cast<uint8_t>(data[i]);
    out[i] = scale * static_cast<float>(table[pair & 15]);
    out[16 + i] = scale * static_cast<float>(table[pair >> 4]);
  }
}

void convert_f32(const std::byte* data, int64_t values, float* out);
void convert_f64(const std::byte* data, int64_t values, float* out);
void convert_f16(const std::byte* data, int64_t values, float* out);
void convert_bf16(const std::byte* data, int64_t values, float* out);

// Blocks of 32 values (gguf_blocks.cpp).
void dequantize_q8_0(const std::byte* data, int64_t blocks, float* out);
void dequantize_q4_0(const std::byte* data, int64_t blocks, float* out);
void dequantize_q4_1(const std::byte* data, int64_t blocks, float* out);
void dequantize_q5_0(const std::byte* data, int64_t blocks, float* out);
void dequantize_q5_1(const std::byte* data, int64_t blocks, float* out);
void dequantize_iq4_nl(const std::byte* data, int64_t blocks, float* out);
void dequantize_mxfp4(const std::byte* data, int64_t blocks, float* out);

// Blocks of 256 values, "K-quants" (gguf_k_blocks.cpp).
void dequantize_q2_k(const std::byte* data, int64_t blocks, float* out);
void dequantize_q3_k(const std::byte* data, int64_t blocks, float* out);
void dequantize_q4_k(const std::byte* data, int64_t blocks, float* out);
void dequantize_q5_k(const std::byte* data, int64_t blocks, float* out);
void dequantize_q6_k(const std::byte* data, int64_t blocks, float* out);
void dequantize_iq4_xs(const std::byte* data, int64_t blocks, float* out);

// Blocks of 256 values that are -1, 0 or 1 times a scale (gguf_k_blocks.cpp).
void dequantize_tq1_0(const std::byte* data, int64_t blocks, float* out);
void dequantize_tq2_0(const std::byte* data, int64_t blocks, float* out);

}  // namespace spikescope
