#include "io/quantized_tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "expect_error.h"

namespace spikescope {
namespace {

using testing::expect_error;
using Scope = WeightFormat::Scope;

/// A part with bytes of its own.
struct Part {
  std::vector<std::byte> bytes;
  TensorInfo info;

  template <class T>
  Part(const std::string& name, const char* dtype, std::vector<int64_t> shape, const std::vector<T>& values)
      : bytes(values.size() * sizeof(T)) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    info = {name, std::move(shape), find_safetensors_format(dtype), bytes, "model.safetensors"};
  }
};

TEST(PackBits, LowestBitsFirst) {
  uint32_t words[2] = {};
  pack_bits(std::vector<int8_t>{-8, 7, 0, -1}, 4, words);
  EXPECT_EQ(words[0], 0x78f0u);
  // Eleven values of three bits: the last one lies across both words.
  pack_bits(std::vector<int8_t>{3, -4, -4, -4, -4, -4, -4, -4, -4, -4, 3}, 3, words);
  EXPECT_EQ(words[0], 0xc0000007u);
  EXPECT_EQ(words[1], 1u);
  EXPECT_EQ(packed_words(11, 3), 2);
  EXPECT_EQ(packed_words(32, 5), 5);
}

TEST(QuantizedTensor, IntegersOfAnyWidthComeBack) {
  std::mt19937 random(5);
  for (int bits = 1; bits <= 8; ++bits) {
    const int64_t rows = 3, columns = 45, words = packed_words(columns, bits);
    std::vector<int8_t> values(static_cast<size_t>(rows * columns));
    for (int8_t& value : values)
      value = static_cast<int8_t>(static_cast<int>(random() % (1u << bits)) - (1 << (bits - 1)));
    std::vector<uint32_t> packed(static_cast<size_t>(rows * words));
    for (int64_t row = 0; row < rows; ++row)
      pack_bits(std::span(values).subspan(static_cast<size_t>(row * columns), static_cast<size_t>(columns)), bits,
                packed.data() + row * words);
    const Part q("w.weight_packed", "I32", {rows, words}, packed);
    const Part scales("w.weight_scale", "F32", {rows, 1}, std::vector<float>{1.0f, 2.0f, -0.5f});
    const WeightFormat format{.bits = bits, .scope = Scope::channel};
    const TensorInfo tensor = quantized_tensor("w.weight", {q.info, scales.info, {}, {rows, columns}}, format);
    const std::vector<float> all = read_tensor(tensor);
    const float factors[] = {1.0f, 2.0f, -0.5f};
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], values[i] * factors[i / 45]) << bits << " bits, " << i;
    std::vector<float> some(7);
    read_values(tensor, 42, 7, some.data());  // across the end of a row
    for (size_t i = 0; i < some.size(); ++i) EXPECT_EQ(some[i], all[42 + i]);
    EXPECT_EQ(tensor.stored_bytes(), rows * words * 4 + rows * 4);
  }
}

TEST(QuantizedTensor, OlderWritersLeaveBitsUnused) {
  // Three bits, ten values a word: 32 words for 320 values, where newer writers need 30.
  std::vector<uint32_t> words(32);
  std::vector<float> expected;
  for (int i = 0; i < 320; ++i) {
    const int value = i * 7 % 8;
    words[static_cast<size_t>(i / 10)] |= static_cast<uint32_t>(value) << (i % 10 * 3);
    expected.push_back(static_cast<float>(value - 4));
  }
  const Part q("w.weight_packed", "I32", {1, 32}, words);
  const Part scales("w.weight_scale", "F32", {1}, std::vector<float>{1.0f});
  const WeightFormat format{.bits = 3, .scope = Scope::tensor};
  EXPECT_EQ(read_tensor(quantized_tensor("w.weight", {q.info, scales.info, {}, {1, 320}}, format)), expected);
}

TEST(QuantizedTensor, GroupsWithZeroPoints) {
  // Two rows, two groups of two columns; zero points go down the rows of each group's column.
  std::vector<uint32_t> words(2), zeros = {0x00000000u, 0x00000000u};
  pack_bits(std::vector<int8_t>{1, 2, 3, 4}, 4, words.data());
  pack_bits(std::vector<int8_t>{-1, -2, -3, -4}, 4, words.data() + 1);
  pack_bits(std::vector<int8_t>{1, -8}, 4, zeros.data());     // group 0: of row 0, of row 1
  pack_bits(std::vector<int8_t>{3, 7}, 4, zeros.data() + 1);  // group 1
  const Part q("w.weight_packed", "I32", {2, 1}, words);
  const Part scales("w.weight_scale", "F32", {2, 2}, std::vector<float>{1.0f, 10.0f, 2.0f, 0.5f});
  const Part points("w.weight_zero_point", "I32", {1, 2}, zeros);
  const WeightFormat format{.bits = 4, .scope = Scope::group, .group = 2, .symmetric = false};
  const TensorInfo tensor = quantized_tensor("w.weight", {q.info, scales.info, points.info, {2, 4}}, format);
  EXPECT_EQ(read_tensor(tensor), (std::vector<float>{0, 1, 0, 10, 14, 12, -5, -5.5}));
  EXPECT_EQ(tensor.format->name, "INT4");
}

TEST(QuantizedTensor, BytesWithZeroPoints) {
  const Part q("w.weight", "I8", {2, 2}, std::vector<int8_t>{-128, 127, 0, 5});
  const Part scales("w.weight_scale", "F32", {2, 1}, std::vector<float>{1.0f, 2.0f});
  const Part points("w.weight_zero_point", "I8", {2, 1}, std::vector<int8_t>{-128, 5});
  const WeightFormat format{.bits = 8, .scope = Scope::channel, .symmetric = false, .packed = false};
  EXPECT_EQ(read_tensor(quantized_tensor("w.weight", {q.info, scales.info, points.info, {2, 2}}, format)),
            (std::vector<float>{0, 255, -10, 0}));
}

TEST(QuantizedTensor, PartsThatDoNotFit) {
  const Part q("w.weight_packed", "I32", {2, 1}, std::vector<uint32_t>(2));
  const Part wrong_type("w.weight_packed", "F32", {2, 1}, std::vector<float>(2));
  const Part scales("w.weight_scale", "F32", {2, 2}, std::vector<float>(4));
  const Part few("w.weight_scale", "F32", {2, 1}, std::vector<float>(2));
  const Part zeros("w.weight_zero_point", "I8", {2, 2}, std::vector<int8_t>(4));
  const WeightFormat format{.bits = 4, .scope = Scope::group, .group = 4};
  const auto make = [](QuantizedParts parts, const WeightFormat& f) {
    return [=] { quantized_tensor("w.weight", parts, f); };
  };
  quantized_tensor("w.weight", {q.info, scales.info, {}, {2, 8}}, format);
  expect_error(make({q.info, scales.info, {}, {2, 16}}, format), {"model.safetensors", "w.weight_packed", "[2, 2]"});
  expect_error(make({wrong_type.info, scales.info, {}, {2, 8}}, format), {"w.weight_packed", "is F32", "expected I32"});
  expect_error(make({q.info, few.info, {}, {2, 8}}, format), {"w.weight_scale", "floats [2, 2]"});
  expect_error(make({q.info, scales.info, zeros.info, {2, 8}}, format), {"w.weight", "symmetric", "zero points"});
  WeightFormat other = format;
  other.symmetric = false;
  expect_error(make({q.info, scales.info, {}, {2, 8}}, other), {"w.weight", "no zero points"});
  expect_error(make({q.info, scales.info, zeros.info, {2, 8}}, other), {"w.weight_zero_point", "expected I32 [1, 2]"});
  other = format;
  other.group = 3;
  expect_error(make({q.info, scales.info, {}, {2, 8}}, other), {"8 columns", "groups of 3"});
  other = format;
  other.bits = 9;
  expect_error(make({q.info, scales.info, {}, {2, 8}}, other), {"9 bits"});
  expect_error(make({q.info, scales.info, {}, {2, 4, 2}}, format), {"[2, 4, 2]", "matrices"});
  expect_error(make({q.info, scales.info, {}, {int64_t{1} << 40, int64_t{1} << 40}}, format), {"matrices"});
}

}  // namespace
}  // namespace spikescope
