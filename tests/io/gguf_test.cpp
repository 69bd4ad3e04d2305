#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "expect_error.h"
#include "fixtures.h"
#include "gguf_builder.h"

namespace spikescope {
namespace {

using testing::bytes_of;
using testing::expect_error;
using testing::GgufBuilder;
using testing::small_llama;
using testing::SmallLlama;
using testing::TemporaryFolder;

constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ8_0 = 8, kString = 8, kArray = 9;

class Gguf : public ::testing::Test {
 protected:
  GgufFile read(std::string_view bytes) const {
    write(bytes);
    return read_gguf(path());
  }
  GgufFile read(const GgufBuilder& builder) const { return read(builder.bytes()); }
  void write(std::string_view bytes) const {
    std::ofstream(path(), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  // Expects an error that names the file and contains all `parts`.
  void expect_bad(std::string_view bytes, std::vector<std::string> parts) const {
    write(bytes);
    expect_error([&] { read_gguf(path()); }, {"model.gguf", parts[0], parts.size() > 1 ? parts[1] : ""});
  }
  void expect_bad(const GgufBuilder& builder, std::vector<std::string> parts) const {
    expect_bad(builder.bytes(), parts);
  }
  std::filesystem::path path() const { return folder_ / "model.gguf"; }

  TemporaryFolder folder_;
};

// A small file with metadata of several types and two tensors, whose last byte belongs to a tensor.
GgufBuilder two_tensors() {
  GgufBuilder file;
  file.add("general.architecture", "llama").add("count", uint32_t{3}).add("flag", true);
  file.add_array("list", std::vector<std::string>{"a", "bc"});
  file.tensor_f32("first", {2, 3}, {1, 2, 3, 4, 5, 6});
  file.tensor("second", {1, 32}, kQ8_0, std::string("\0\x3c", 2) + std::string(32, '\x02'));
  return file;
}

TEST_F(Gguf, MetadataOfEveryType) {
  GgufBuilder file;
  file.add("u8", uint8_t{255}).add("i8", int8_t{-128}).add("u16", uint16_t{65535}).add("i16", int16_t{-32768});
  file.add("u32", uint32_t{4294967295u})
      .add("i32", int32_t{-2147483647})
      .add("f32", 1e-5f)
      .add("yes", true)
      .add("no", false);
  file.add("text", "caf\xc3\xa9")
      .add("u64", std::numeric_limits<uint64_t>::max())
      .add("i64", int64_t{-5})
      .add("f64", 0.1);
  file.add("raw", std::string("\xff\0\xfe", 3)).add("nothing", "");
  file.add_array("numbers", std::vector<int32_t>{1, -2, 3}).add_array("none", std::vector<float>{});
  file.add_array("strings", std::vector<std::string>{"a", ""});
  const std::string inner = GgufBuilder::array_bytes(std::vector<uint8_t>{1, 2});
  file.add_raw("nested", kArray, bytes_of(kArray) + bytes_of(uint64_t{2}) + inner + inner);
  const Json metadata = read(file).metadata;
  EXPECT_EQ(metadata["u8"], 255);
  EXPECT_EQ(metadata["i8"], -128);
  EXPECT_EQ(metadata["u16"], 65535);
  EXPECT_EQ(metadata["i16"], -32768);
  EXPECT_EQ(metadata["u32"], 4294967295u);
  EXPECT_EQ(metadata["i32"], -2147483647);
  EXPECT_EQ(metadata["f32"].get<float>(), 1e-5f);
  EXPECT_EQ(metadata["yes"], true);
  EXPECT_EQ(metadata["no"], false);
  EXPECT_EQ(metadata["text"], "caf\xc3\xa9");
  EXPECT_EQ(metadata["u64"], std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(metadata["i64"], -5);
  EXPECT_EQ(metadata["f64"], 0.1);
  EXPECT_EQ(metadata["raw"].get<std::string>(), std::string("\xff\0\xfe", 3));
  EXPECT_EQ(metadata["nothing"], "");
  EXPECT_EQ(metadata["numbers"], Json::array({1, -2, 3}));
  EXPECT_EQ(metadata["none"], Json::array());
  EXPECT_EQ(metadata["strings"], Json::array({"a", ""}));
  EXPECT_EQ(metadata["nested"], Json::array({{1, 2}, {1, 2}}));
  EXPECT_EQ(metadata.size(), 19u);
}

TEST_F(Gguf, TensorsHaveShapesOutermostFirst) {
  const GgufFile file = read(two_tensors());
  EXPECT_EQ(file.path, path());
  EXPECT_EQ(file.version, 3);
  EXPECT_EQ(file.parts, std::vector{path()});
  ASSERT_EQ(file.tensors.tensors().size(), 2u);
  const TensorInfo& first = file.tensors.require("first");
  EXPECT_EQ(first.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(first.format->name, "F32");
  EXPECT_EQ(first.file, path().string());
  EXPECT_EQ(read_tensor(first), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(read_tensor(file.tensors.require("second")), std::vector<float>(32, 2.0f));
}

TEST_F(Gguf, Version2OddAlignmentAndScalars) {
  GgufBuilder file = two_tensors();
  file.version = 2;
  EXPECT_EQ(read(file).version, 2);

  GgufBuilder aligned;
  aligned.alignment = 128;
  aligned.add("general.alignment", uint32_t{128});
  aligned.tensor_f32("a", {3}, {1, 2, 3}).tensor_f32("b", {}, {4});
  const GgufFile read_back = read(aligned);
  EXPECT_EQ(read_tensor(read_back.tensors.require("a")), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(read_tensor(read_back.tensors.require("b")), std::vector<float>{4});
}

TEST_F(Gguf, MetadataAlone) {
  GgufBuilder file;
  EXPECT_TRUE(read(file).metadata.empty());
  file.add("general.architecture", "llama");
  EXPECT_TRUE(read(file).tensors.tensors().empty());
}

TEST_F(Gguf, SmallLlamaIsComplete) {
  for (const bool half : {false, true}) {
    const GgufFile file = read(small_llama({.half = half}));
    EXPECT_EQ(file.metadata["llama.block_count"], 2);
    EXPECT_EQ(file.metadata["tokenizer.ggml.tokens"].size(), testing::kSmallLlamaVocabulary);
    EXPECT_EQ(file.metadata["tokenizer.ggml.tokens"][188], "\xc4\x80");  // byte 0 is U+0100
    EXPECT_EQ(file.tensors.tensors().size(), 3u + 2 * 9);
    const TensorInfo& down = file.tensors.require("blk.1.ffn_down.weight");
    EXPECT_EQ(down.shape, (std::vector<int64_t>{32, 48}));
    EXPECT_EQ(down.format->name, half ? "F16" : "F32");
  }
  // The same numbers in both precisions.
  const auto full = read_tensor(read(small_llama({.half = false})).tensors.require("output.weight"));
  EXPECT_EQ(read_tensor(read(small_llama({.half = true})).tensors.require("output.weight")), full);
  EXPECT_EQ(read(small_llama({.tied = true})).tensors.find("output.weight"), nullptr);
  EXPECT_FALSE(read(small_llama({.tokenizer = false})).metadata.contains("tokenizer.ggml.tokens"));
}

TEST_F(Gguf, TruncationAtEveryByteIsAnError) {
  const std::string whole = two_tensors().bytes();
  EXPECT_NO_THROW(read(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    write(std::string_view(whole).substr(0, length));
    expect_error([&] { read_gguf(path()); }, {"model.gguf"});
    if (HasFailure()) FAIL() << "cut to " << length << " of " << whole.size() << " bytes";
  }
}

TEST_F(Gguf, ChangedBytesNeverCrash) {
  const std::string whole = two_tensors().bytes();
  std::mt19937 random(3);
  int errors = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = whole;
    for (int change = 0; change <= round % 3; ++change) {
      const auto value = random() % 4;
      bytes[random() % bytes.size()] = value == 0 ? '\xff' : value == 1 ? '\0' : static_cast<char>(random());
    }
    write(bytes);
    try {
      const GgufFile file = read_gguf(path());
      for (const TensorInfo& tensor : file.tensors.tensors()) {
        if (tensor.format->dequantize) read_tensor(tensor);
      }
    } catch (const Error& error) {
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
      ++errors;
    }
  }
  EXPECT_GT(errors, 1000);
}

TEST_F(Gguf, WrongMagicSaysWhatTheFileIs) {
  GgufBuilder file = two_tensors();
  file.magic = "GGUX";
  expect_bad(file, {"not a GGUF file"});
  expect_bad("version https://git-lfs.github.com/spec/v1\n", {"not a GGUF file", "git lfs pull"});
  expect_bad("<!DOCTYPE html>", {"web page"});
  file.magic = "FUGG";
  expect_bad(file, {"big-endian"});
}

TEST_F(Gguf, OtherVersionsAndByteOrders) {
  GgufBuilder file = two_tensors();
  for (const uint32_t version : {0u, 1u, 4u}) {
    file.version = version;
    expect_bad(file, {"version " + std::to_string(version), "2 or 3"});
  }
  file.version = 0x03000000;
  expect_bad(file, {"big-endian"});
}

TEST_F(Gguf, MissingEmptyOrFolder) {
  expect_error([&] { read_gguf(folder_ / "absent.gguf"); }, {"absent.gguf", "No such file"});
  expect_error([&] { read_gguf(folder_.path()); }, {"is a folder"});
  expect_bad("", {"empty"});
}

TEST_F(Gguf, AbsurdCounts) {
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 40, ~uint64_t{0}}) {
    GgufBuilder file = two_tensors();
    file.claimed_pairs = count;
    expect_bad(file, {std::to_string(count) + " metadata pairs", "are left"});
    file = two_tensors();
    file.claimed_tensors = count;
    expect_bad(file, {std::to_string(count) + " tensors", "are left"});
  }
  GgufBuilder file;
  for (int i = 0; i < 65537; ++i) file.add("k" + std::to_string(i), uint8_t{0});
  expect_bad(file, {"65537 metadata pairs", "more than the 65536"});
}

TEST_F(Gguf, AbsurdStringAndArrayLengths) {
  for (const uint64_t length : {uint64_t{100}, uint64_t{1} << 62, ~uint64_t{0}}) {
    GgufBuilder file;
    file.add_raw("name", kString, bytes_of(length) + "abc");
    expect_bad(file, {"\"name\"", "claims " + std::to_string(length) + " bytes"});
    for (const uint32_t type : {0u, 8u, 9u, 12u}) {
      GgufBuilder array;
      array.add_raw("list", kArray, bytes_of(type) + bytes_of(length) + "abc");
      expect_bad(array, {std::to_string(length) + " array elements"});
    }
  }
}

TEST_F(Gguf, TooManyArrayElementsInAll) {
  // Each array is within the bound, both together are not.
  GgufBuilder file;
  const std::string half = bytes_of(uint32_t{0}) + bytes_of(uint64_t{9} << 20) + std::string(9 << 20, '\0');
  file.add_raw("one", kArray, half);
  file.add_raw("two", kArray, half);
  expect_bad(file, {"\"two\"", "more than 16777216 array elements"});
}

TEST_F(Gguf, ArraysNestedTooDeep) {
  std::string value;
  for (int depth = 0; depth < 100'000; ++depth) value += bytes_of(kArray) + bytes_of(uint64_t{1});
  value += GgufBuilder::array_bytes(std::vector<uint8_t>{1});
  GgufBuilder file;
  file.add_raw("deep", kArray, value);
  expect_bad(file, {"\"deep\"", "nested deeper"});
}

TEST_F(Gguf, BadPairs) {
  expect_bad(GgufBuilder().add("a.b", uint32_t{1}).add("a.b", uint32_t{1}), {"\"a.b\"", "twice"});
  expect_bad(GgufBuilder().add("", uint32_t{1}), {"key of metadata pair 0", "empty"});
  expect_bad(GgufBuilder().add_raw("odd", 13, "12345678"), {"\"odd\"", "type 13"});
  expect_bad(GgufBuilder().add_raw("odd", 0xffffffff, "12345678"), {"\"odd\"", "type 4294967295"});
  expect_bad(GgufBuilder().add_raw("odd", 7, "\x02..."), {"\"odd\"", "expected 0 or 1"});
  expect_bad(GgufBuilder().add_raw("bad\nkey\xff", 13, "12345678"), {"bad\\x0akey\\xff"});
}

TEST_F(Gguf, BadAlignment) {
  for (const uint32_t alignment : {0u, 3u, 48u, 1u << 31}) {
    expect_bad(two_tensors().add("general.alignment", alignment), {"general.alignment", std::to_string(alignment)});
  }
  expect_bad(two_tensors().add("general.alignment", "32"), {"general.alignment", "an integer"});
}

TEST_F(Gguf, BadTensorEntries) {
  const std::string data(256, '\0');
  const auto one = [&](std::vector<uint64_t> shape, uint32_t type, std::optional<uint64_t> offset = std::nullopt) {
    return GgufBuilder().add("general.architecture", "llama").tensor("blk.0.w", std::move(shape), type, data, offset);
  };
  EXPECT_NO_THROW(read(one({1, 1, 1, 4}, kF32)));
  expect_bad(one({1, 1, 1, 1, 4}, kF32), {"\"blk.0.w\"", "5 dimensions"});
  expect_bad(one({4, 0}, kF32), {"\"blk.0.w\"", "dimension of 0"});
  expect_bad(one({uint64_t{1} << 63}, kF32), {"\"blk.0.w\"", "9223372036854775808"});
  expect_bad(one({uint64_t{1} << 32, uint64_t{1} << 32}, kF32), {"\"blk.0.w\"", "larger than any file"});
  expect_bad(one({uint64_t{1} << 31, uint64_t{1} << 31}, kF32), {"\"blk.0.w\"", "larger than any file"});
  expect_bad(one({uint64_t{1} << 30, uint64_t{1} << 30}, kF32), {"\"blk.0.w\"", "needs 4611686018427387904 bytes"});
  expect_bad(one({2, 2}, 4), {"\"blk.0.w\"", "unknown type 4"});
  expect_bad(one({2, 2}, 0xffffffff), {"\"blk.0.w\"", "unknown type 4294967295"});
  expect_bad(one({2, 48}, kQ4_0), {"\"blk.0.w\"", "rows of 48 values"});
  expect_bad(one({65}, kF32), {"\"blk.0.w\"", "needs 260 bytes"});
  expect_bad(one({64}, kF32, 32), {"\"blk.0.w\"", "at offset 32"});
  expect_bad(one({4}, kF32, 4), {"\"blk.0.w\"", "multiple of the alignment 32"});
  expect_bad(one({4}, kF32, uint64_t{1} << 40), {"\"blk.0.w\"", "at offset 1099511627776"});
  expect_bad(one({4}, kF32, ~uint64_t{31}), {"\"blk.0.w\"", "at offset 18446744073709551584"});
  expect_bad(one({4}, kF32).tensor("blk.0.w", {4}, kF32, data), {"\"blk.0.w\"", "twice"});
  expect_bad(one({4}, kF32).tensor("", {4}, kF32, data), {"name of tensor 1", "empty"});
}

TEST_F(Gguf, OverlappingTensors) {
  const std::string data(256, '\0');
  GgufBuilder file;
  file.tensor("a", {16}, kF32, data).tensor("b", {16}, kF32, data, 32);
  expect_bad(file, {"\"a\" and \"b\"", "overlap"});
  GgufBuilder same;
  same.tensor("a", {16}, kF32, data).tensor("b", {16}, kF32, data, 0);
  expect_bad(same, {"overlap"});
  GgufBuilder touching;
  touching.tensor("a", {16}, kF32, data).tensor("b", {16}, kF32, data, 64);
  EXPECT_NO_THROW(read(touching));
}

TEST_F(Gguf, UnsupportedBlockTypeIsAnErrorOnReadingOnly) {
  GgufBuilder file;
  file.tensor("blk.3.ffn_up.weight", {1, 256}, 19, std::string(50, '\0'));
  const GgufFile opened = read(file);
  expect_error([&] { read_tensor(opened.tensors.require("blk.3.ffn_up.weight")); },
               {"model.gguf", "blk.3.ffn_up.weight", "IQ1_S"});
}

class SplitGguf : public Gguf {
 protected:
  GgufBuilder part(uint16_t number, uint16_t count, const std::string& tensor) const {
    GgufBuilder file;
    if (number == 0) file.add("general.architecture", "llama");
    file.add("split.no", number).add("split.count", count).add("split.tensors.count", int32_t{3});
    file.tensor_f32(tensor, {1}, {static_cast<float>(number)});
    return file;
  }
  std::filesystem::path part_path(int number) const {
    return folder_ / ("m-0000" + std::to_string(number) + "-of-00003.gguf");
  }
  void write_all() const {
    part(0, 3, "a").write(part_path(1));
    part(1, 3, "b").write(part_path(2));
    part(2, 3, "c").write(part_path(3));
  }
};

TEST_F(SplitGguf, AnyPartOpensAll) {
  write_all();
  for (int number = 1; number <= 3; ++number) {
    const GgufFile file = read_gguf(part_path(number));
    EXPECT_EQ(file.path, part_path(1));
    EXPECT_EQ(file.parts, (std::vector{part_path(1), part_path(2), part_path(3)}));
    EXPECT_EQ(file.metadata["general.architecture"], "llama");
    EXPECT_EQ(read_tensor(file.tensors.require("c")), std::vector<float>{2});
    EXPECT_EQ(file.tensors.require("b").file, part_path(2).string());
  }
}

TEST_F(SplitGguf, MissingPartIsNamed) {
  write_all();
  std::filesystem::remove(part_path(2));
  expect_error([&] { read_gguf(part_path(1)); }, {"m-00002-of-00003.gguf", "is missing"});
}

TEST_F(SplitGguf, RenamedOrMixedParts) {
  write_all();
  std::filesystem::copy_file(part_path(1), path());
  for (const char* name : {"model.gguf", "x-of-00003.gguf", "-0001-of-00003.gguf", "m-0000x-of-00003.gguf",
                           "m.00001-of-00003.gguf", "m-00001-of-00002.gguf", "m-00001-of-00003.gguf.gguf"}) {
    if (name != std::string_view("model.gguf")) std::filesystem::copy_file(path(), folder_ / name);
    expect_error([&] { read_gguf(folder_ / name); }, {name, "name should end in -<part>-of-00003.gguf"});
  }
  part(2, 3, "c").write(part_path(2));
  expect_error([&] { read_gguf(part_path(1)); }, {"m-00002-of-00003.gguf", "part 3 of 3"});
  part(1, 3, "a").write(part_path(2));
  expect_error([&] { read_gguf(part_path(1)); }, {"m-00002-of-00003.gguf", "\"a\"", "twice", "m-00001-of-00003.gguf"});
  part(1, 3, "b").tensor_f32("d", {1}, {1}).write(part_path(2));
  expect_error([&] { read_gguf(part_path(1)); }, {"4 tensors, expected 3"});
  GgufBuilder().add("general.architecture", "llama").write(part_path(2));
  expect_error([&] { read_gguf(part_path(1)); }, {"m-00002-of-00003.gguf", "split.no", "missing"});
}

TEST_F(SplitGguf, BadCounts) {
  expect_bad(GgufBuilder().add("split.count", int32_t{-1}), {"split.count is -1"});
  expect_bad(GgufBuilder().add("split.count", uint32_t{1} << 31), {"split.count is 2147483648"});
  EXPECT_NO_THROW(read(GgufBuilder().add("split.count", uint16_t{1})));
}

TEST_F(Gguf, Fixtures) {
  SKIP_WITHOUT_SHARED("fixtures/gguf/llama-Q4_1.gguf");
  const GgufFile file = read_gguf(testing::shared_folder() / "fixtures/gguf/llama-Q4_1.gguf");
  EXPECT_EQ(file.metadata["general.architecture"], "llama");
  EXPECT_EQ(file.tensors.require("blk.2.ffn_down.weight").shape, (std::vector<int64_t>{64, 96}));
}

}  // namespace
}  // namespace spikescope
