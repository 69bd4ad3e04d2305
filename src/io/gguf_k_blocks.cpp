// GGUF's blocks of 256 values: in groups of 16 or 32 ("K-quants", IQ4_XS), each with its own scale (and minimum), which
// are numbers of 4 to 8 bits times the block's own; and ternary ones. Layouts: ggml-common.h of llama.cpp.
#include <array>

#include "io/gguf_blocks.h"

namespace spikescope {
namespace {

inline const uint8_t* unsigned_bytes(const std::byte* data) { return reinterpret_cast<const uint8_t*>(data); }

// The numbers of one block, unpacked before they are converted: both steps then vectorise well.
using Numbers = std::array<uint8_t, 256>;

// 4-bit numbers: the low halves of each `run` bytes, then their high halves.
inline Numbers unpack_nibbles(const uint8_t* data, int run) {
  Numbers numbers;
  for (int first = 0; first < 128; first += run) {
    for (int i = 0; i < run; ++i) numbers[first * 2 + i] = data[first + i] & 15;
    for (int i = 0; i < run; ++i) numbers[first * 2 + run + i] = data[first + i] >> 4;
  }
  return numbers;
}

// 2-bit numbers: the lowest bits of 32 bytes, then their next, ...; twice.
inline Numbers unpack_pairs(const uint8_t* data) {
  Numbers numbers;
  for (int half = 0; half < 2; ++half) {
    for (int part = 0; part < 4; ++part) {
      uint8_t* to = numbers.data() + half * 128 + part * 32;
      for (int i = 0; i < 32; ++i) to[i] = data[half * 32 + i] >> (part * 2) & 3;
    }
  }
  return numbers;
}

// Puts bit g of byte i, of the 32 bytes at `data`, into bit `place` of number 32 g + i.
inline void add_bits(Numbers& numbers, const uint8_t* data, int place) {
  for (int g = 0; g < 8; ++g) {
    for (int i = 0; i < 32; ++i) numbers[g * 32 + i] |= (data[i] >> g & 1) << place;
  }
}

// Scale and minimum of group 0 to 7 from the 12 bytes where Q4_K and Q5_K pack 16 numbers of 6 bits.
struct Group {
  int scale, minimum;
};
inline Group unpack_group(const uint8_t* packed, int group) {
  if (group < 4) return {packed[group] & 63, packed[group + 4] & 63};
  return {(packed[group + 4] & 15) | (packed[group - 4] >> 6 << 4),
          (packed[group + 4] >> 4) | (packed[group] >> 6 << 4)};
}

// Base-3 numbers of `bytes` bytes: the first digits of all of them, then their second digits, ... A byte holds its
// digits as a fraction of 256, rounded up, so that the first one is the whole part of three times that.
inline void unpack_digits(const uint8_t* data, int bytes, int digits, uint8_t* to) {
  for (int digit = 0, power = 1; digit < digits; ++digit, power *= 3) {
    for (int i = 0; i < bytes; ++i) to[digit * bytes + i] = (data[i] * power & 255) * 3 >> 8;
  }
}

inline void scale_ternary(const Numbers& q, float scale, float* out) {
  for (int i = 0; i < 256; ++i) out[i] = scale * static_cast<float>(q[i] - 1);
}

}  // namespace

// Block: 16 bytes of scale (low half) and minimum (high half), 64 bytes of 2-bit numbers, scale and minimum (halves).
void dequantize_q2_k(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 84, out += 256) {
    const uint8_t* groups = unsigned_bytes(data);
    const float d = load_half(data + 80), dmin = load_half(data + 82);
    const Numbers q = unpack_pairs(unsigned_bytes(data + 16));
    for (int g = 0; g < 16; ++g) {  // groups of 16 values
      const float scale = d * static_cast<float>(groups[g] & 15), minimum = dmin * static_cast<float>(groups[g] >> 4);
      for (int i = g * 16; i < g * 16 + 16; ++i) out[i] = scale * static_cast<float>(q[i]) - minimum;
    }
  }
}

// Block: 32 bytes of third bits (0 takes 4 off; bit g of byte i belongs to value 32 g + i), 64 bytes of 2-bit numbers,
// 12 bytes of 6-bit scales with an offset of 32, scale (half).
void dequantize_q3_k(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 110, out += 256) {
    const uint8_t* packed = unsigned_bytes(data + 96);
    const float d = load_half(data + 108);
    Numbers q = unpack_pairs(unsigned_bytes(data + 32));
    add_bits(q, unsigned_bytes(data), 2);
    for (int g = 0; g < 16; ++g) {  // groups of 16 values
      const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
      const int high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      for (int i = g * 16; i < g * 16 + 16; ++i) out[i] = scale * static_cast<float>(q[i] - 4);
    }
  }
}

// Block: scale and minimum (halves), 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit numbers.
void dequantize_q4_k(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 144, out += 256) {
    const float d = load_half(data), dmin = load_half(data + 2);
    const Numbers q = unpack_nibbles(unsigned_bytes(data + 16), 32);
    for (int g = 0; g < 8; ++g) {  // groups of 32 values
      const Group group = unpack_group(unsigned_bytes(data + 4), g);
      const float scale = d * static_cast<float>(group.scale), minimum = dmin * static_cast<float>(group.minimum);
      for (int i = g * 32; i < g * 32 + 32; ++i) out[i] = scale * static_cast<float>(q[i]) - minimum;
    }
  }
}

// Block: as Q4_K with 32 bytes of fifth bits before the 4-bit numbers: bit g of byte i belongs to value 32 g + i.
void dequantize_q5_k(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 176, out += 256) {
    const float d = load_half(data), dmin = load_half(data + 2);
    Numbers q = unpack_nibbles(unsigned_bytes(data + 48), 32);
    add_bits(q, unsigned_bytes(data + 16), 4);
    for (int g = 0; g < 8; ++g) {  // groups of 32 values
      const Group group = unpack_group(unsigned_bytes(data + 4), g);
      const float scale = d * static_cast<float>(group.scale), minimum = dmin * static_cast<float>(group.minimum);
      for (int i = g * 32; i < g * 32 + 32; ++i) out[i] = scale * static_cast<float>(q[i]) - minimum;
    }
  }
}

// Block: 128 bytes of low 4 bits (64 bytes of low halves, then their high halves, twice), 64 bytes of high 2 bits, 16
// signed bytes of scales, scale (half); offset of 32.
void dequantize_q6_k(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 210, out += 256) {
    const auto* scales = reinterpret_cast<const int8_t*>(data + 192);
    const float d = load_half(data + 208);
    Numbers q = unpack_nibbles(unsigned_bytes(data), 64);
    const Numbers high = unpack_pairs(unsigned_bytes(data + 128));
    for (int i = 0; i < 256; ++i) q[i] |= high[i] << 4;
    for (int g = 0; g < 16; ++g) {  // groups of 16 values
      const float scale = d * static_cast<float>(scales[g]);
      for (int i = g * 16; i < g * 16 + 16; ++i) out[i] = scale * static_cast<float>(q[i] - 32);
    }
  }
}

// Block: scale (half), high 2 bits and low 4 bits of eight 6-bit scales with an offset of 32, 128 bytes of 4-bit
// indices into the table of numbers.
void dequantize_iq4_xs(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 136) {
    const uint8_t *high = unsigned_bytes(data + 2), *low = unsigned_bytes(data + 4);
    const float d = load_half(data);
    for (int g = 0; g < 8; ++g, out += 32) {  // groups of 32 values
      const int scale = (low[g / 2] >> (g % 2 * 4) & 15) | (high[g / 4] >> (g % 4 * 2) & 3) << 4;
      look_up_nibbles(data + 8 + g * 16, kNonLinear, d * static_cast<float>(scale - 32), out);
    }
  }
}

// Block: 48 bytes of 5 base-3 digits (32 bytes, then 16), 4 bytes of 4 digits, scale (half).
void dequantize_tq1_0(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 54, out += 256) {
    Numbers q;
    unpack_digits(unsigned_bytes(data), 32, 5, q.data());
    unpack_digits(unsigned_bytes(data + 32), 16, 5, q.data() + 160);
    unpack_digits(unsigned_bytes(data + 48), 4, 4, q.data() + 240);
    scale_ternary(q, load_half(data + 52), out);
  }
}

// Block: 64 bytes of 2-bit numbers, scale (half).
void dequantize_tq2_0(const std::byte* data, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, data += 66, out += 256) {
    scale_ternary(unpack_pairs(unsigned_bytes(data)), load_half(data + 64), out);
  }
}

}  // namespace spikescope
