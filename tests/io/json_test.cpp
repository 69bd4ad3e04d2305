#include "io/json.h"

#include <gtest/gtest.h>

#include <chrono>

#include "expect_error.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

Json parse(std::string_view text) { return parse_json(text, "config.json"); }
void expect_bad(std::string_view text, std::string part, std::string other = "") {
  expect_error([&] { parse(text); }, {"config.json", part, other});
}

TEST(ParseJson, EveryKindOfValueInOrder) {
  const Json json =
      parse(R"( {"z": [1, -2, 3.5, "\u00e9", true, false, null, {}], "a": {"b": []}, "u": 18446744073709551615} )");
  EXPECT_EQ(json.begin().key(), "z");  // as written
  EXPECT_EQ(json, Json::parse(R"({"z":[1,-2,3.5,"é",true,false,null,{}],"a":{"b":[]},"u":18446744073709551615})"));
  EXPECT_EQ(json["u"].get<uint64_t>(), 18446744073709551615u);
  EXPECT_EQ(parse("3"), 3);
  EXPECT_EQ(parse("\xef\xbb\xbf{}"), Json::object());  // byte order mark
}

TEST(ParseJson, ErrorsHaveLineAndColumn) {
  expect_bad("", "line 1, column 1");
  expect_bad("{\n  \"a\": 1,\n  \"b\": x\n}", "line 3, column 8");
  expect_bad("{\"a\": 1", "line 1");
  expect_bad("{} {}", "line 1, column 4");
  expect_bad("[1e999]", "number overflow");
  expect_bad("{'a': 1}", "line 1, column 2");
  expect_bad("[NaN]", "line 1, column 2");
}

TEST(ParseJson, InvalidUtf8) {
  for (const char* bad : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80"}) {
    expect_bad(std::string("[\"") + bad + "\"]", "line 1, column", "UTF-8");
  }
  expect_bad("\"\\ud800\"", "line 1, column");
}

TEST(ParseJson, LongTokensAreCutInMessages) { expect_bad("[\"" + std::string(1'000'000, 'a') + "\x01\"]", "..."); }

TEST(ParseJson, DepthIsBounded) {
  EXPECT_NO_THROW(parse(std::string(256, '[') + std::string(256, ']')));
  expect_bad(std::string(257, '[') + std::string(257, ']'), "line 1, column 257", "deeper than 256");
  expect_bad("{\"[[{\\\"\": \"[[[\",\n\"b\":" + std::string(10'000'000, '['), "line 2, column 260", "deeper than 256");
  std::string objects;
  for (int i = 0; i < 300; ++i) objects += "{\"a\":";
  expect_bad(objects, "deeper than 256");
  // Closed containers count no more.
  std::string wide = "[";
  for (int i = 0; i < 1000; ++i) wide += "[],{},";
  EXPECT_NO_THROW(parse(wide + "1]"));
}

TEST(ParseJson, DuplicateKeys) {
  expect_bad(R"({"a": 1, "b": 2, "a": 3})", "\"a\"", "twice");
  expect_bad(R"([{"x": {"a": 1, "\u0061": 3}}])", "\"a\"", "twice");
  EXPECT_NO_THROW(parse(R"([{"a": 1}, {"a": {"a": 2}}])"));
}

TEST(ParseJson, LargeObjectsTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += "\"token" + std::to_string(i) + "\":" + std::to_string(i) + ',';
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  const Json json = parse(text);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(json.size(), 300'000u);
  EXPECT_LT(seconds.count(), 20.0);  // with a look-up for each key: minutes
}

TEST(ReadJsonFile, ReadsAndNamesTheFile) {
  const TemporaryFolder folder;
  write_file(folder / "a.json", "{\"a\": [1]}");
  EXPECT_EQ(read_json_file(folder / "a.json")["a"][0], 1);
  expect_error([&] { read_json_file(folder / "a.json", 9); }, {"a.json", "10 bytes", "at most 9"});
  EXPECT_NO_THROW(read_json_file(folder / "a.json", 10));
  expect_error([&] { read_json_file(folder / "absent.json"); }, {"absent.json", "No such file"});
  expect_error([&] { read_json_file(folder.path()); }, {"folder"});
  write_file(folder / "b.json", "{");
  expect_error([&] { read_json_file(folder / "b.json"); }, {"b.json", "line 1"});
}

TEST(JsonGet, TypedValues) {
  const Json json = parse(R"({"b": true, "i": -3, "d": 2.5, "s": "x", "whole": 4096.0, "big": 9223372036854775807})");
  EXPECT_EQ(json_get<bool>(json, "b", "c"), true);
  EXPECT_EQ(json_get<int64_t>(json, "i", "c"), -3);
  EXPECT_EQ(json_get<int64_t>(json, "whole", "c"), 4096);
  EXPECT_EQ(json_get<int64_t>(json, "big", "c"), INT64_MAX);
  EXPECT_EQ(json_get<double>(json, "d", "c"), 2.5);
  EXPECT_EQ(json_get<double>(json, "i", "c"), -3.0);
  EXPECT_EQ(json_get<std::string>(json, "s", "c"), "x");
}

TEST(JsonGet, WrongTypesNameFileKeyAndValue) {
  const Json json = parse(R"({"b": 1, "i": "7", "d": true, "s": 5, "f": 1.5, "n": null, "a": [1],
                              "big": 9223372036854775808, "huge": 1e300})");
  expect_error([&] { json_get<bool>(json, "b", "c.json"); }, {"c.json", "\"b\"", "true or false", "found 1"});
  expect_error([&] { json_get<int64_t>(json, "i", "c.json"); }, {"c.json", "\"i\"", "an integer", "found \"7\""});
  expect_error([&] { json_get<int64_t>(json, "f", "c.json"); }, {"\"f\"", "found 1.5"});
  expect_error([&] { json_get<int64_t>(json, "big", "c.json"); }, {"\"big\"", "9223372036854775808"});
  expect_error([&] { json_get<int64_t>(json, "huge", "c.json"); }, {"\"huge\""});
  expect_error([&] { json_get<double>(json, "d", "c.json"); }, {"\"d\"", "a number", "found true"});
  expect_error([&] { json_get<std::string>(json, "s", "c.json"); }, {"\"s\"", "a string", "found 5"});
  expect_error([&] { json_get<std::string>(json, "n", "c.json"); }, {"\"n\"", "found null"});
  expect_error([&] { json_get<std::string>(json, "a", "c.json"); }, {"\"a\"", "found an array"});
  expect_error([&] { json_get<bool>(json, "absent", "c.json"); }, {"c.json", "\"absent\"", "is missing"});
  expect_error([&] { json_get<bool>(Json::array(), "x", "c.json"); }, {"c.json", "an object", "an array"});
  const Json raw = {{"s", "\xff\n"}};  // strings of a GGUF may be anything
  expect_error([&] { json_get<bool>(raw, "s", "c.json"); }, {"\\xff\\x0a"});
}

TEST(JsonGetOr, DefaultsForMissingAndNullOnly) {
  const Json json = parse(R"({"i": 3, "n": null, "s": "x"})");
  EXPECT_EQ(json_get_or<int64_t>(json, "i", 5, "c"), 3);
  EXPECT_EQ(json_get_or<int64_t>(json, "n", 5, "c"), 5);
  EXPECT_EQ(json_get_or<int64_t>(json, "absent", 5, "c"), 5);
  EXPECT_EQ(json_get_or<double>(json, "absent", 0.5, "c"), 0.5);
  EXPECT_EQ(json_get_or<bool>(json, "absent", true, "c"), true);
  EXPECT_EQ(json_get_or<std::string>(json, "absent", "y", "c"), "y");
  expect_error([&] { json_get_or<int64_t>(json, "s", 5, "c.json"); }, {"c.json", "\"s\"", "an integer"});
  expect_error([&] { json_get_or<int64_t>(Json(), "s", 5, "c.json"); }, {"c.json", "an object"});
}

}  // namespace
}  // namespace spikescope
