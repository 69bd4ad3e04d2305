// Plain floats, and GGUF's blocks of 32 values. Layouts: ggml-common.h of llama.cpp. Low halves of the 16 bytes of
// packed 4-bit numbers are values 0 to 15, high halves are values 16 to 31.
#include "io/gguf_blocks.h"

#include <array>

#include "io/float16.h"

namespace spikescope {
namespace {

// The numbers of one block, unpacked before they are converted: both steps then vectorise well.
using Numbers = std::array<uint8_t, 32>;

inline Numbers unpack_nibbles(const std::byte* data) {
  Numbers numbers;
  for (int i = 0; i < 16; ++i) {
    numbers[i] = static_cast<uint8_t>(data[i]) & 15;
    numbers[16 + i] = static_cast<uint8_t>(data[i]) >> 4;
  }
  return numbers;
}

// Number i of a block with fifth bits: a shift by i in a loop does as well as any unpacking beforehand.
inline int with_fifth_bit(uint32_t four, uint32_t fifth_bits, int i) {
  return static_cast<int>(four | (fifth_bits >> i & 1) << 4);
}

inline uint32_t load_u32(const std::byte* data) {
  uint32_t value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// Twice the 16 numbers of a 4-bit float (1 bit of sign, 2 of exponent, 1 of mantissa).
constexpr TableOf16 kFloat4 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Half of two to the power of `exponent` - 127: of an 8-bit exponent's value, as kFloat4's numbers are twice theirs.
inline float half_of_power(uint8_t exponent) {
  return std::bit_cast<float>(exponent < 2 ? uint32_t{0x00200000} << exponent : uint32_t{exponent - 1u} << 23);
}

}  // namespace

void convert_f32(const std::byte* data, int64_t values, float* out) {
  if (values > 0) std::memcpy(out, data, static_cast<size_t>(values) * sizeof(float));
}

void convert_f64(const std::byte* data, int64_t values, float* out) {
  for (int64_t i = 0; i < values; ++i) {
    double value;
    std::memcpy(&value, data + i * 8, sizeof value);
    out[i] = static_cast<float>(value);
  }
}

void convert_f16(const std::byte* data, int64_t values, float* out) {
  if (reinterpret_cast<uintptr_t>(data) % alignof(uint16_t) == 0) {  // nearly always
    return float16_to_floats({reinterpret_cast<const uint16_t*>(data), static_cast<size_t>(values)}, out);
  }
  for (int64_t i = 0; i < values; ++i) out[i] = load_half(data + i * 2);
}

void convert_bf16(const std::byte* data, int64_t values, float* out) {
  for (int64_t i = 0; i < values; ++i) {
    uint16_t upper;
    std::memcpy(&upper, data + i * 2, sizeof upper);
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(upper) << 16);
  }
}

// Block: scale (half), 32 signed bytes.
void dequantize_q8_0(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 34, out += 32) {
    const float scale = load_half(data);
    const auto* q = reinterpret_cast<const int8_t*>(data + 2);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(q[i]);
  }
}

// Block: scale (half), 16 bytes of 4-bit numbers with an offset of 8.
void dequantize_q4_0(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 18, out += 32) {
    const float scale = load_half(data);
    const Numbers q = unpack_nibbles(data + 2);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(q[i] - 8);
  }
}

// Block: scale (half), minimum (half), 16 bytes of 4-bit numbers.
void dequantize_q4_1(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 20, out += 32) {
    const float scale = load_half(data), minimum = load_half(data + 2);
    const Numbers q = unpack_nibbles(data + 4);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(q[i]) + minimum;
  }
}

// Block: scale (half), the 32 fifth bits, 16 bytes of 4-bit numbers; offset of 16.
void dequantize_q5_0(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 22, out += 32) {
    const float scale = load_half(data);
    const uint32_t fifth = load_u32(data + 2);
    const auto* q = reinterpret_cast<const uint8_t*>(data + 6);
    for (int i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(with_fifth_bit(q[i] & 15, fifth, i) - 16);
    for (int i = 0; i < 16; ++i)
      out[16 + i] = scale * static_cast<float>(with_fifth_bit(q[i] >> 4, fifth, 16 + i) - 16);
  }
}

// Block: scale (half), minimum (half), the 32 fifth bits, 16 bytes of 4-bit numbers.
void dequantize_q5_1(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 24, out += 32) {
    const float scale = load_half(data), minimum = load_half(data + 2);
    const uint32_t fifth = load_u32(data + 4);
    const auto* q = reinterpret_cast<const uint8_t*>(data + 8);
    for (int i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(with_fifth_bit(q[i] & 15, fifth, i)) + minimum;
    for (int i = 0; i < 16; ++i) {
      out[16 + i] = scale * static_cast<float>(with_fifth_bit(q[i] >> 4, fifth, 16 + i)) + minimum;
    }
  }
}

// Block: scale (half), 16 bytes of 4-bit indices into the table of numbers.
void dequantize_iq4_nl(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 18, out += 32) {
    look_up_nibbles(data + 2, kNonLinear, load_half(data), out);
  }
}

// Block: exponent of the scale (8 bits), 16 bytes of 4-bit floats.
void dequantize_mxfp4(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 17, out += 32) {
    look_up_nibbles(data + 1, kFloat4, half_of_power(static_cast<uint8_t>(data[0])), out);
  }
}

}  // namespace spikescope
