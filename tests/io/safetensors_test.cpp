#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "expect_error.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

std::string with_header(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsFile read(std::string_view bytes) const {
    write_file(path(), bytes);
    return read_safetensors(path());
  }
  void expect_bad(std::string_view bytes, std::string part, std::string other = "") const {
    write_file(path(), bytes);
    expect_error([&] { read_safetensors(path()); }, {"model.safetensors", part, other});
  }
  // A file whose header is one tensor "w" with the given fields, and `bytes` bytes of data.
  void expect_bad_entry(const std::string& fields, size_t bytes, std::string part) const {
    expect_bad(with_header("{\"w\":" + fields + "}", std::string(bytes, '\0')), part);
  }
  std::filesystem::path path() const { return folder_ / "model.safetensors"; }

  TemporaryFolder folder_;
};

std::string small_file() {
  std::string data;
  for (const float value : {1.0f, 2.0f, 3.0f}) data.append(reinterpret_cast<const char*>(&value), 4);
  return with_header(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3,1],"data_offsets":[1,13]},)"
                     R"("m":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}} )",
                     "\x07" + data);
}

TEST_F(Safetensors, ReadsTensorsAtOddAddressesAndMetadata) {
  const SafetensorsFile file = read(small_file());
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(file.parts, std::vector{path()});
  ASSERT_EQ(file.tensors.tensors().size(), 2u);
  const TensorInfo& tensor = file.tensors.require("a");
  EXPECT_EQ(tensor.shape, (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(read_tensor(tensor), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(file.tensors.require("m").bytes[0], std::byte{7});
  expect_error([&] { read_tensor(file.tensors.require("m")); }, {"model.safetensors", "\"m\"", "U8"});
}

TEST_F(Safetensors, EmptyTensorsAndScalars) {
  const SafetensorsFile file = read(with_header(R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},)"
                                                R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                                R"("f":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]}})",
                                                std::string(4, '\0')));
  EXPECT_TRUE(read_tensor(file.tensors.require("e")).empty());
  EXPECT_EQ(read_tensor(file.tensors.require("s")), std::vector<float>{0});
  EXPECT_TRUE(read(with_header("{}", "")).tensors.tensors().empty());
}

TEST_F(Safetensors, TruncationAtEveryByteIsAnError) {
  const std::string whole = small_file();
  EXPECT_NO_THROW(read(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    expect_bad(std::string_view(whole).substr(0, length), "");
    if (HasFailure()) FAIL() << "cut to " << length << " of " << whole.size() << " bytes";
  }
}

TEST_F(Safetensors, ChangedBytesNeverCrash) {
  const std::string whole = small_file();
  std::mt19937 random(5);
  int errors = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    for (int change = 0; change <= round % 3; ++change) bytes[random() % bytes.size()] = static_cast<char>(random());
    std::ofstream(path(), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    try {
      const SafetensorsFile file = read_safetensors(path());
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

TEST_F(Safetensors, BadHeaders) {
  expect_bad("abc", "3 bytes");
  expect_bad("GGUF\3\0\0\0aaaaaaaaaaaa", "GGUF");
  expect_bad("version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
  expect_bad(with_header("", ""), "header of 0 bytes");
  const uint64_t long_length = 100'000'001;
  expect_bad(std::string(reinterpret_cast<const char*>(&long_length), 8) + "{}", "header of 100000001 bytes");
  const uint64_t longer = 50'000'000;
  expect_bad(std::string(reinterpret_cast<const char*>(&longer), 8) + "{}", "50000000 bytes, 2 are left");
  expect_bad(with_header("[1]", ""), "JSON object");
  expect_bad(with_header("{\"a\":", ""), "line 1, column");
  expect_bad(with_header("{\"\xff\":1}", ""), "line 1, column", "UTF-8");
  expect_bad(with_header(std::string(1000, '[') + std::string(1000, ']'), ""), "deeper than 256");
  expect_bad(with_header(R"({"__metadata__":{"a":1}})", ""), "__metadata__");
  expect_bad(with_header(R"({"__metadata__":[]})", ""), "__metadata__");
  const std::string entry = R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  expect_bad(with_header("{" + entry + "," + entry + "}", "1234"), "\"w\"", "twice");
}

TEST_F(Safetensors, BadEntries) {
  expect_bad_entry("1", 0, "\"dtype\" is missing");
  expect_bad_entry(R"({"shape":[1],"data_offsets":[0,4]})", 4, "\"dtype\" is missing");
  expect_bad_entry(R"({"dtype":4,"shape":[1],"data_offsets":[0,4]})", 4, "dtype should be a string");
  expect_bad_entry(R"({"dtype":"Q7","shape":[1],"data_offsets":[0,4]})", 4, "unknown dtype \"Q7\"");
  expect_bad_entry(R"({"dtype":"F32","data_offsets":[0,4]})", 4, "\"shape\" is missing");
  expect_bad_entry(R"({"dtype":"F32","shape":[1]})", 4, "\"data_offsets\" is missing");
  for (const std::string shape : {"1", "[-1]", "[1.5]", "[\"1\"]", "[[1]]", "[18446744073709551615]", "null"}) {
    expect_bad_entry(R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,4]})", 4, "\"shape\" should be");
  }
  for (const std::string offsets : {"4", "[-4,0]", "[0,4,8]", "[0,1e30]"}) {
    expect_bad_entry(R"({"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}", 4, "\"data_offsets\" should be");
  }
  expect_bad_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})", 4, "data_offsets should be [begin, end]");
  expect_bad_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4, "begin <= end");
  expect_bad_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 3, "bytes [0, 4) of the data, which has 3");
  expect_bad_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[9223372036854775803,9223372036854775807]})", 4,
                   "of the data, which has 4");
  expect_bad_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4, "takes 8 bytes, data_offsets give it 4");
  // Products that come back to 4 bytes, or to 0, when they overflow.
  expect_bad_entry(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})", 4, "too many");
  expect_bad_entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0, "too many");
  expect_bad_entry(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", 0, "too many");
}

TEST_F(Safetensors, OverlapsAndHoles) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_NO_THROW(read(with_header(two("[4,8]", "[0,4]"), "12345678")));
  expect_bad(with_header(two("[0,4]", "[3,7]"), "12345678"), "\"a\" and \"b\" overlap");
  expect_bad(with_header(two("[0,4]", "[0,4]"), "1234"), "overlap");
  expect_bad(with_header(two("[0,4]", "[5,9]"), "123456789"), "bytes [4, 5) of the data belong to no tensor");
  expect_bad(with_header(two("[1,5]", "[5,9]"), "123456789"), "bytes [0, 1)");
  expect_bad(with_header(two("[0,4]", "[4,8]"), "123456789"), "bytes [8, 9)");
}

TEST_F(Safetensors, NamesInMessagesStayOnOneLine) { expect_bad(with_header(R"({"a\nb":1})", ""), "a\\x0ab"); }

TEST_F(Safetensors, WriteAndReadBack) {
  const std::vector<float> floats = {1.5f, -2, 3, 4, 5, 6};
  const std::vector<int64_t> ids = {7, -8};
  const uint8_t flag = 1;
  write_safetensors(path(),
                    {{"flag", {1}, "BOOL", std::as_bytes(std::span(&flag, 1))},
                     {"w", {2, 3}, "F32", std::as_bytes(std::span(floats))},
                     {"ids", {2}, "I64", std::as_bytes(std::span(ids))}},
                    {{"note", "caf\xc3\xa9 \"quoted\""}});
  const std::string bytes = read_file(path());
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const SafetensorsFile file = read_safetensors(path());
  EXPECT_EQ(file.metadata.at("note"), "caf\xc3\xa9 \"quoted\"");
  EXPECT_EQ(read_tensor(file.tensors.require("w")), floats);
  EXPECT_EQ(file.tensors.require("w").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file.tensors.require("ids").bytes.data(), ids.data(), 16), 0);
  EXPECT_EQ(file.tensors.require("flag").format->name, "BOOL");

  write_safetensors(path(), {});
  EXPECT_TRUE(read_safetensors(path()).tensors.tensors().empty());
}

TEST_F(Safetensors, WriteRefusesWhatItCouldNotReadBack) {
  write_file(path(), "old");
  const std::vector<float> floats(4);
  const auto bytes = std::as_bytes(std::span(floats));
  expect_error([&] { write_safetensors(path(), {{"w", {5}, "F32", bytes}}); }, {"\"w\"", "[5]", "16 bytes"});
  expect_error([&] { write_safetensors(path(), {{"w", {4}, "F33", bytes}}); }, {"\"w\"", "F33"});
  expect_error(
      [&] {
        write_safetensors(path(), {{"w", {4}, "F32", bytes}, {"w", {4}, "F32", bytes}});
      },
      {"\"w\"", "taken"});
  expect_error([&] { write_safetensors(path(), {{"__metadata__", {4}, "F32", bytes}}); }, {"__metadata__", "taken"});
  expect_error([&] { write_safetensors(path(), {{"\xff", {4}, "F32", bytes}}); }, {"UTF-8"});
  EXPECT_EQ(read_file(path()), "old");
}

class ShardedSafetensors : public Safetensors {
 protected:
  void write_shard(const std::string& name, const std::string& tensor, float value) const {
    write_safetensors(folder_ / name, {{tensor, {1}, "F32", std::as_bytes(std::span(&value, 1))}}, {{"from", name}});
  }
  void write_index(const std::string& text) const { write_file(index(), text); }
  std::filesystem::path index() const { return folder_ / "model.safetensors.index.json"; }
  void expect_bad_index(const std::string& text, std::string part, std::string other = "") const {
    write_index(text);
    expect_error([&] { read_safetensors(index()); }, {part, other});
  }
};

TEST_F(ShardedSafetensors, ReadsAllShards) {
  write_shard("m-1.safetensors", "a", 1);
  write_shard("m-2.safetensors", "b", 2);
  write_index(R"({"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}})");
  const SafetensorsFile file = read_safetensors(index());
  EXPECT_EQ(file.parts, (std::vector{folder_ / "m-1.safetensors", folder_ / "m-2.safetensors"}));
  EXPECT_EQ(file.metadata.at("from"), "m-1.safetensors");
  EXPECT_EQ(read_tensor(file.tensors.require("b")), std::vector<float>{2});
  EXPECT_EQ(file.tensors.require("b").file, (folder_ / "m-2.safetensors").string());
}

TEST_F(ShardedSafetensors, IndexAndShardsMustAgree) {
  write_shard("m-1.safetensors", "a", 1);
  write_shard("m-2.safetensors", "b", 2);
  expect_bad_index(R"({"weight_map":{"a":"m-1.safetensors","c":"m-1.safetensors"}})", "m-1.safetensors",
                   "no tensor \"c\"");
  expect_bad_index(R"({"weight_map":{"a":"m-1.safetensors","c":"m-2.safetensors"}})", "\"b\"", "does not list");
  expect_bad_index(R"({"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors"}})", "places in m-2.safetensors");
  expect_bad_index(R"({"weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors"}})", "m-3.safetensors: is missing");
}

TEST_F(ShardedSafetensors, BadIndexes) {
  for (const std::string text : {"[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})"}) {
    expect_bad_index(text, "index.json", "weight_map");
  }
  expect_bad_index("{", "index.json", "line 1, column");
  for (const std::string shard : {R"("../m.safetensors")", R"("/etc/passwd")", R"("a/b")", R"("a\\b")", R"("..")",
                                  R"(".")", R"("")", R"("a\u0000b")", "1"}) {
    expect_bad_index(R"({"weight_map":{"a":)" + shard + "}}", "index.json", "name of a file beside it");
  }
}

TEST_F(Safetensors, Fixtures) {
  SKIP_WITHOUT_SHARED("fixtures/models/llama/model.safetensors");
  const SafetensorsFile file = read_safetensors(testing::shared_folder() / "fixtures/models/llama/model.safetensors");
  EXPECT_GT(file.tensors.tensors().size(), 10u);
  for (const TensorInfo& tensor : file.tensors.tensors())
    EXPECT_EQ(read_tensor(tensor).size(), static_cast<size_t>(tensor.values()));
}

}  // namespace
}  // namespace spikescope
