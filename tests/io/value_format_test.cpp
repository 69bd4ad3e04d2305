#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "fixtures.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/tensor_table.h"

namespace spikescope {
namespace {

struct Size {
  int type;
  const char* name;
  int64_t values, bytes;
};
constexpr Size kGgufSizes[] = {
    {0, "F32", 1, 4},       {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210}, {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {19, "IQ1_S", 256, 50}, {20, "IQ4_NL", 32, 18},   {18, "IQ3_XXS", 256, 98}, {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82}, {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},      {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},     {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
};

TEST(ValueFormat, GgufTypesHaveTheirNameAndSize) {
  for (const Size& expected : kGgufSizes) {
    const ValueFormat* format = find_gguf_format(expected.type);
    ASSERT_NE(format, nullptr) << expected.name;
    EXPECT_EQ(format->name, expected.name);
    EXPECT_EQ(format->gguf_type, expected.type);
    EXPECT_EQ(format->block_values, expected.values) << expected.name;
    EXPECT_EQ(format->block_bytes, expected.bytes) << expected.name;
  }
  for (const int unknown : {-1, 4, 5, 36, 1000}) EXPECT_EQ(find_gguf_format(unknown), nullptr) << unknown;
}

TEST(ValueFormat, SafetensorsTypesHaveTheirSize) {
  const std::pair<const char*, int64_t> expected[] = {
      {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4},  {"I16", 2},
      {"I8", 1},  {"U8", 1},  {"U16", 2},  {"U32", 4}, {"U64", 8}, {"BOOL", 1}, {"F8_E4M3", 1},
  };
  for (const auto& [dtype, bytes] : expected) {
    const ValueFormat* format = find_safetensors_format(dtype);
    ASSERT_NE(format, nullptr) << dtype;
    EXPECT_EQ(format->block_values, 1) << dtype;
    EXPECT_EQ(format->block_bytes, bytes) << dtype;
  }
  for (const char* unknown : {"", "Q4_0", "f32", "F128"})
    EXPECT_EQ(find_safetensors_format(unknown), nullptr) << unknown;
}

TEST(ValueFormat, ReadableFormatsAreListed) {
  EXPECT_EQ(readable_formats(),
            "F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, "
            "IQ4_XS, TQ1_0, TQ2_0, MXFP4");
}

// Sign, exponent and mantissa by IEEE 754, with none of the tricks of the code under test.
float half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const double sign = half & 0x8000 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa ? NAN : static_cast<float>(sign * INFINITY);
  return static_cast<float>(sign *
                            (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25)));
}

// Converts with an offset of `shift` bytes from the aligned start of a buffer.
std::vector<float> convert(const ValueFormat& format, const std::vector<uint8_t>& bytes, size_t shift) {
  std::vector<std::byte> buffer(bytes.size() + shift);
  std::memcpy(buffer.data() + shift, bytes.data(), bytes.size());
  const int64_t blocks = static_cast<int64_t>(bytes.size()) / format.block_bytes;
  std::vector<float> values(static_cast<size_t>(blocks * format.block_values));
  format.dequantize(buffer.data() + shift, blocks, values.data());
  return values;
}

template <class T>
std::vector<uint8_t> bytes_of_all(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void expect_same_bits(const std::vector<float>& found, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(found[i])) << what << ", value " << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
          << what << ", value " << i << ": " << found[i] << " instead of " << expected[i];
    }
  }
}

TEST(ValueFormat, EveryHalfPrecisionNumberIsExact) {
  std::vector<uint16_t> halves(65536);
  std::vector<float> expected(65536);
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<uint16_t>(i);
    expected[i] = half_value(halves[i]);
  }
  for (const size_t shift : {0, 1}) {  // at an odd address too, as safetensors allows
    expect_same_bits(convert(*find_gguf_format(1), bytes_of_all(halves), shift), expected, "F16");
  }
  // The scale of a block goes another way: Q8_0 with a single 1.
  for (size_t i = 0; i < halves.size(); i += 1) {
    std::vector<uint8_t> block(34);
    std::memcpy(block.data(), &halves[i], 2);
    block[2] = 1;
    const float scale = convert(*find_gguf_format(8), block, 0)[0];
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(scale)) << i;
    } else {
      ASSERT_EQ(scale, expected[i]) << i;
    }
  }
}

TEST(ValueFormat, PlainFloatsConvertAtAnyAddress) {
  const std::vector<float> values = {0.0f, -0.0f, 1.5f, -3e38f, 1e-45f, INFINITY, -INFINITY, NAN, 0.1f};
  std::vector<double> doubles(values.begin(), values.end());
  std::vector<uint16_t> brains;
  std::vector<float> brain_values;
  for (const float value : values) {
    brains.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    brain_values.push_back(std::bit_cast<float>(static_cast<uint32_t>(brains.back()) << 16));
  }
  for (const size_t shift : {0, 1, 3}) {
    expect_same_bits(convert(*find_safetensors_format("F32"), bytes_of_all(values), shift), values, "F32");
    expect_same_bits(convert(*find_safetensors_format("F64"), bytes_of_all(doubles), shift), values, "F64");
    expect_same_bits(convert(*find_safetensors_format("BF16"), bytes_of_all(brains), shift), brain_values, "BF16");
  }
}

// Value i of a block, one at a time, from the definition of the format. `b` is the block; halves are read by half().
using Block = const uint8_t*;
double half(Block b) { return half_value(static_cast<uint16_t>(b[0] | b[1] << 8)); }
int nibble(Block q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }
int bit(Block b, int i) { return b[i / 8] >> (i % 8) & 1; }
int nibble_k(Block q, int i) { return q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15; }
int pair_k(Block q, int i) { return q[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3; }
double scale_k4(Block s, int g) { return g < 4 ? s[g] & 63 : (s[g + 4] & 15) + (s[g - 4] >> 6) * 16; }
double minimum_k4(Block s, int g) { return g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) + (s[g] >> 6) * 16; }
int scale_q3(Block s, int g) {
  return (g < 8 ? s[g] & 15 : s[g - 8] >> 4) + (s[8 + g % 4] >> (g / 4 * 2) & 3) * 16 - 32;
}
int six_bits(Block b, int i) {
  const int part = i / 32 % 4;
  const int low = b[i / 128 * 64 + part % 2 * 32 + i % 32] >> (part / 2 * 4) & 15;
  return low + (b[128 + i / 128 * 32 + i % 32] >> (part * 2) & 3) * 16 - 32;
}
constexpr int kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr double kFloat4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
// Digit n of a byte is that of its 256th part in base 3, n + 1 places behind the point; what is rounded up is kept.
int digit_t1(Block b, int i) {
  const auto digit = [](int byte, int n) {
    for (; n > 0; --n) byte = byte * 3 % 256;
    return byte * 3 / 256;
  };
  if (i < 160) return digit(b[i % 32], i / 32);
  if (i < 240) return digit(b[32 + (i - 160) % 16], (i - 160) / 16);
  return digit(b[48 + (i - 240) % 4], (i - 240) / 4);
}

struct Definition {
  int type;
  std::vector<int> halves;  // where the block has half-precision numbers
  double (*value)(Block, int i);
};
const Definition kDefinitions[] = {
    {8, {0}, [](Block b, int i) { return half(b) * static_cast<int8_t>(b[2 + i]); }},
    {2, {0}, [](Block b, int i) { return half(b) * (nibble(b + 2, i) - 8); }},
    {3, {0, 2}, [](Block b, int i) { return half(b) * nibble(b + 4, i) + half(b + 2); }},
    {6, {0}, [](Block b, int i) { return half(b) * (nibble(b + 6, i) + bit(b + 2, i) * 16 - 16); }},
    {7, {0, 2}, [](Block b, int i) { return half(b) * (nibble(b + 8, i) + bit(b + 4, i) * 16) + half(b + 2); }},
    {20, {0}, [](Block b, int i) { return half(b) * kNonLinear[nibble(b + 2, i)]; }},
    {39, {}, [](Block b, int i) { return std::ldexp(kFloat4[nibble(b + 1, i)], b[0] - 128); }},
    {23,
     {0},
     [](Block b, int i) {
       const int g = i / 32, low = b[4 + g / 2] >> (g % 2 * 4) & 15, high = (b[2] | b[3] << 8) >> (g * 2) & 3;
       return half(b) * (low + high * 16 - 32) * kNonLinear[nibble(b + 8 + g * 16, i % 32)];
     }},
    {34, {52}, [](Block b, int i) { return half(b + 52) * (digit_t1(b, i) - 1); }},
    {35, {64}, [](Block b, int i) { return half(b + 64) * (pair_k(b, i) - 1); }},
    {10,
     {80, 82},
     [](Block b, int i) {
       return half(b + 80) * (b[i / 16] & 15) * pair_k(b + 16, i) - half(b + 82) * (b[i / 16] >> 4);
     }},
    {11,
     {108},
     [](Block b, int i) {
       return half(b + 108) * scale_q3(b + 96, i / 16) * (pair_k(b + 32, i) - 4 * (1 - (b[i % 32] >> (i / 32) & 1)));
     }},
    {12,
     {0, 2},
     [](Block b, int i) {
       return half(b) * scale_k4(b + 4, i / 32) * nibble_k(b + 16, i) - half(b + 2) * minimum_k4(b + 4, i / 32);
     }},
    {13,
     {0, 2},
     [](Block b, int i) {
       const int q = nibble_k(b + 48, i) + (b[16 + i % 32] >> (i / 32) & 1) * 16;
       return half(b) * scale_k4(b + 4, i / 32) * q - half(b + 2) * minimum_k4(b + 4, i / 32);
     }},
    {14, {208}, [](Block b, int i) { return half(b + 208) * static_cast<int8_t>(b[192 + i / 16]) * six_bits(b, i); }},
};

TEST(ValueFormat, RandomBlocksMatchTheDefinitionOfEveryFormat) {
  constexpr int kBlocks = 40;
  std::mt19937 random(7);
  for (const Definition& definition : kDefinitions) {
    const ValueFormat& format = *find_gguf_format(definition.type);
    const auto stride = static_cast<size_t>(format.block_bytes);
    std::vector<uint8_t> bytes(kBlocks * stride);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    for (size_t b = 0; b < kBlocks; ++b) {
      // Finite scales of either sign between 2^-11 and 2^5, so that float64 holds every value without rounding.
      for (const int at : definition.halves) {
        bytes[b * stride + static_cast<size_t>(at) + 1] =
            static_cast<uint8_t>((random() & 0x80) | (0x10 + random() % 0x40));
      }
    }
    std::vector<float> expected;
    for (size_t b = 0; b < kBlocks; ++b) {
      for (int i = 0; i < format.block_values; ++i) {
        expected.push_back(static_cast<float>(definition.value(bytes.data() + b * stride, i)));
      }
    }
    const auto found = convert(format, bytes, 1);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], expected[i]) << format.name << ", value " << i;
  }
}

// One block each with numbers that can be checked by hand.
TEST(ValueFormat, SmallBlocksByHand) {
  const auto block = [](int type, std::initializer_list<std::pair<int, int>> bytes) {
    const ValueFormat& format = *find_gguf_format(type);
    std::vector<uint8_t> data(static_cast<size_t>(format.block_bytes));
    for (const auto& [at, byte] : bytes) data[static_cast<size_t>(at)] = static_cast<uint8_t>(byte);
    return convert(format, data, 0);
  };
  constexpr int kTwo = 0x40;  // the upper byte of 2 as a half
  // MXFP4: 2^(129 - 127) times 0.5 (1) and -6 (15); the smallest scale, 2^-127, and the largest, 2^128.
  auto values = block(39, {{0, 129}, {1, 0xf1}});
  EXPECT_EQ(values[0], 2.0f);
  EXPECT_EQ(values[16], -24.0f);
  EXPECT_EQ(values[1], 0.0f);
  EXPECT_EQ(block(39, {{0, 0}, {1, 1}})[0], std::ldexp(1.0f, -128));
  EXPECT_EQ(block(39, {{0, 1}, {1, 2}})[0], std::ldexp(1.0f, -126));
  EXPECT_EQ(block(39, {{0, 255}, {1, 1}})[0], std::ldexp(1.0f, 127));
  EXPECT_TRUE(std::isinf(block(39, {{0, 255}, {1, 7}})[0]));
  // IQ4_XS: scale 2 times group 1's 6 bits (0x2f - 32 = 15) times number 0 (-127) and 9 (13).
  values = block(23, {{1, kTwo}, {2, 2 << 2}, {4, 0xf0}, {8 + 16, 0x90}});
  EXPECT_EQ(values[32], 2.0f * 15 * -127);
  EXPECT_EQ(values[48], 2.0f * 15 * 13);
  EXPECT_EQ(values[0], 2.0f * -32 * -127);
  // TQ1_0: 2 0 1 0 2 in base 3 is 173, 173 / 243 * 256 rounded up is 183.
  values = block(34, {{0, 183}, {53, kTwo}});
  for (const auto& [at, value] :
       {std::pair{0, 2.0f}, {32, -2.0f}, {64, 0.0f}, {96, -2.0f}, {128, 2.0f}, {240, -2.0f}}) {
    EXPECT_EQ(values[static_cast<size_t>(at)], value) << at;
  }
  // TQ2_0: 2 bits each, the lowest first.
  values = block(35, {{0, 0b10'01'00'10}, {65, kTwo}});
  EXPECT_EQ(values[0], 2.0f);
  EXPECT_EQ(values[32], -2.0f);
  EXPECT_EQ(values[64], 0.0f);
  EXPECT_EQ(values[96], 2.0f);
}

TEST(ValueFormat, AllReadableBlockFormatsAreTested) {
  for (const Size& size : kGgufSizes) {
    const ValueFormat* format = find_gguf_format(size.type);
    if (!format->dequantize || format->block_values == 1) continue;
    EXPECT_TRUE(std::any_of(std::begin(kDefinitions), std::end(kDefinitions), [&](const Definition& definition) {
      return definition.type == size.type;
    })) << format->name;
  }
}

TEST(ValueFormatFixtures, BlocksEqualTheReferenceBitByBit) {
  SKIP_WITHOUT_SHARED("fixtures/gguf/blocks.gguf");
  const auto folder = testing::shared_folder() / "fixtures/gguf";
  const GgufFile blocks = read_gguf(folder / "blocks.gguf");
  const SafetensorsFile expected = read_safetensors(folder / "blocks.expected.safetensors");
  int compared = 0;
  for (const TensorInfo& tensor : blocks.tensors.tensors()) {
    if (!tensor.format->dequantize) {
      EXPECT_THROW(read_tensor(tensor), Error) << tensor.name;
      continue;
    }
    const TensorInfo& reference = expected.tensors.require(tensor.name);
    EXPECT_EQ(tensor.shape, reference.shape);
    expect_same_bits(read_tensor(tensor), read_tensor(reference), tensor.name);
    ++compared;
  }
  EXPECT_EQ(compared, 15);
}

TEST(ValueFormatFixtures, ModelTensorsEqualTheReferenceBitByBit) {
  SKIP_WITHOUT_SHARED("fixtures/gguf/llama-F32.gguf");
  const auto folder = testing::shared_folder() / "fixtures/gguf";
  for (const std::string format : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}) {
    const GgufFile model = read_gguf(folder / ("llama-" + format + ".gguf"));
    const SafetensorsFile golden = read_safetensors(folder / ("llama-" + format + ".golden.safetensors"));
    int compared = 0;
    for (const TensorInfo& reference : golden.tensors.tensors()) {
      const std::string prefix = "dequant.";
      if (!reference.name.starts_with(prefix)) continue;
      const TensorInfo& tensor = model.tensors.require(reference.name.substr(prefix.size()));
      EXPECT_EQ(tensor.format->name, format);
      EXPECT_EQ(tensor.shape, reference.shape);
      expect_same_bits(read_tensor(tensor), read_tensor(reference), format + " " + tensor.name);
      ++compared;
    }
    EXPECT_GT(compared, 0) << format;
  }
}

}  // namespace
}  // namespace spikescope
