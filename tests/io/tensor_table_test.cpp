#include "io/tensor_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <thread>

#include "expect_error.h"

namespace spikescope {
namespace {

using testing::expect_error;

// A tensor over bytes that the test owns.
TensorInfo make_tensor(std::string name, std::vector<int64_t> shape, int type, std::span<const std::byte> bytes) {
  TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.shape = std::move(shape);
  tensor.format = find_gguf_format(type);
  tensor.bytes = bytes;
  tensor.file = "model.gguf";
  return tensor;
}

constexpr int kF32 = 0, kQ8 = 8, kIq1S = 19, kI64 = 27;

// Q8_0 blocks: scale of 0.5 and numbers that tell the place.
std::vector<std::byte> q8_blocks(int64_t blocks) {
  std::vector<std::byte> bytes(static_cast<size_t>(blocks) * 34);
  for (int64_t b = 0; b < blocks; ++b) {
    std::byte* block = bytes.data() + b * 34;
    block[1] = std::byte{0x38};
    for (int i = 0; i < 32; ++i) block[2 + i] = static_cast<std::byte>(b * 7 + i);
  }
  return bytes;
}
float q8_value(int64_t index) { return 0.5f * static_cast<float>(static_cast<int8_t>(index / 32 * 7 + index % 32)); }

TEST(TensorInfo, ValuesAndRowSize) {
  EXPECT_EQ(make_tensor("m", {3, 4, 5}, kF32, {}).values(), 60);
  EXPECT_EQ(make_tensor("m", {3, 4, 5}, kF32, {}).row_size(), 20);
  EXPECT_EQ(make_tensor("v", {7}, kF32, {}).row_size(), 1);
  EXPECT_EQ(make_tensor("s", {}, kF32, {}).values(), 1);
  EXPECT_EQ(make_tensor("s", {}, kF32, {}).row_size(), 1);
  EXPECT_EQ(make_tensor("e", {0, 4}, kF32, {}).values(), 0);
}

TEST(ReadRows, AnyRangeOfRows) {
  const auto bytes = q8_blocks(5 * 2);
  const TensorInfo tensor = make_tensor("w", {5, 64}, kQ8, bytes);
  for (int64_t first = 0; first <= 5; ++first) {
    for (int64_t count = 0; count <= 5 - first; ++count) {
      std::vector<float> out(static_cast<size_t>(count) * 64 + 1, -1.0f);
      read_rows(tensor, first, count, out.data());
      for (int64_t i = 0; i < count * 64; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], q8_value(first * 64 + i));
      EXPECT_EQ(out.back(), -1.0f);  // and not a value more
    }
  }
}

TEST(ReadRows, LargeTensorsByAllCoresAndFromSeveralThreads) {
  constexpr int64_t kRows = 301, kColumns = 992;  // chunks do not fit rows
  const auto bytes = q8_blocks(kRows * kColumns / 32);
  const TensorInfo tensor = make_tensor("w", {kRows, kColumns}, kQ8, bytes);
  const auto whole = read_tensor(tensor);
  for (int64_t i = 0; i < kRows * kColumns; ++i) ASSERT_EQ(whole[static_cast<size_t>(i)], q8_value(i)) << i;
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = read_tensor(tensor); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, whole);
}

TEST(ReadRows, VectorsAndScalars) {
  const std::vector<float> values = {1, 2, 3, 4};
  const TensorInfo vector = make_tensor("v", {4}, kF32, std::as_bytes(std::span(values)));
  EXPECT_EQ(read_tensor(vector), values);
  float two[2];
  read_rows(vector, 1, 2, two);
  EXPECT_EQ(two[0], 2);
  EXPECT_EQ(two[1], 3);
  EXPECT_EQ(read_tensor(make_tensor("s", {}, kF32, std::as_bytes(std::span(values)).first(4))), std::vector<float>{1});
  EXPECT_TRUE(read_tensor(make_tensor("e", {0, 4}, kF32, {})).empty());
}

TEST(ReadRows, BadCallsNameTensorAndReason) {
  const auto bytes = q8_blocks(4);
  const TensorInfo tensor = make_tensor("blk.0.w", {4, 32}, kQ8, bytes);
  float out[128];
  expect_error([&] { read_rows(tensor, -1, 1, out); }, {"model.gguf", "blk.0.w", "4 rows"});
  expect_error([&] { read_rows(tensor, 0, 5, out); }, {"4 rows"});
  expect_error([&] { read_rows(tensor, 5, 0, out); }, {"4 rows"});
  expect_error([&] { read_rows(tensor, 3, INT64_MAX, out); }, {"4 rows"});
  expect_error([&] { read_rows(tensor, 0, -1, out); }, {"4 rows"});

  const TensorInfo vector = make_tensor("v", {128}, kQ8, bytes);
  EXPECT_EQ(read_tensor(vector).size(), 128u);
  expect_error([&] { read_rows(vector, 1, 32, out); }, {"\"v\"", "whole Q8_0 blocks of 32"});
  expect_error([&] { read_rows(vector, 0, 31, out); }, {"\"v\"", "whole Q8_0 blocks of 32"});

  const TensorInfo cut = make_tensor("cut", {4, 32}, kQ8, std::span(bytes).first(4 * 34 - 1));
  expect_error([&] { read_tensor(cut); }, {"\"cut\"", "135 bytes"});
}

TEST(ReadRows, FormatsThatAreNoFloatsAreNamed) {
  const std::vector<std::byte> bytes(100);
  expect_error([&] { read_tensor(make_tensor("blk.1.ffn", {256}, kIq1S, bytes)); },
               {"model.gguf", "blk.1.ffn", "IQ1_S", "Q4_K"});
  float out;
  expect_error([&] { read_rows(make_tensor("ids", {4}, kI64, bytes), 0, 1, &out); }, {"model.gguf", "ids", "I64"});
}

TEST(TensorTable, FindsByNameAndSuggestsTheNearest) {
  TensorTable table;
  expect_error([&] { table.require("x"); }, {"\"x\"", "no tensors"});
  for (const char* name : {"token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight"}) {
    table.add(make_tensor(name, {1}, kF32, {}));
  }
  EXPECT_EQ(table.tensors().size(), 3u);
  ASSERT_NE(table.find("blk.0.attn_k.weight"), nullptr);
  EXPECT_EQ(table.find("blk.0.attn_k.weight")->name, "blk.0.attn_k.weight");
  EXPECT_EQ(table.find("blk.0.attn_k"), nullptr);
  EXPECT_EQ(&table.require("token_embd.weight"), &table.tensors()[0]);
  expect_error([&] { table.require("blk.0.attn_kk.weight"); },
               {"model.gguf", "\"blk.0.attn_kk.weight\"", "3 tensors", "nearest name is \"blk.0.attn_k.weight\""});
  expect_error([&] { table.require(std::string(100'000, 'a') + "\n"); }, {"aaa..."});
}

TEST(TensorTable, RefusesADuplicateName) {
  TensorTable table;
  table.add(make_tensor("a", {1}, kF32, {}));
  expect_error([&] { table.add(make_tensor("a", {1}, kF32, {})); }, {"model.gguf", "\"a\"", "twice"});
}

TEST(TensorTable, Moves) {
  TensorTable table;
  table.add(make_tensor("a", {1}, kF32, {}));
  const TensorTable moved = std::move(table);
  EXPECT_EQ(moved.require("a").name, "a");
}

}  // namespace
}  // namespace spikescope
