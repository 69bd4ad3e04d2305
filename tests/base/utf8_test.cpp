#include "base/utf8.h"

#include <gtest/gtest.h>

namespace spikescope {
namespace {

TEST(Utf8, FindsTheFirstBadByte) {
  struct Case {
    std::string text;
    size_t bad;
  };
  const size_t none = std::string_view::npos;
  const Case cases[] = {
      {"", none},
      {"plain ASCII text of some length", none},
      {"é€😀 \U0010ffff \ufffe", none},
      {std::string("a\0b", 3), none},
      {"\x80", 0},
      {"abcdefgh\xff", 8},
      {"\xc3", 0},
      {"ab\xe2\x82", 2},
      {"\xc0\x80", 0},          // overlong
      {"\xe0\x9f\xbf", 0},      // overlong
      {"x\xed\xa0\x80", 1},     // surrogate
      {"\xf0\x8f\xbf\xbf", 0},  // overlong
      {"\xf4\x90\x80\x80", 0},  // beyond U+10FFFF
      {"\xf5\x80\x80\x80", 0},
      {"é\xe2\x28\xa1", 2},
  };
  for (const Case& row : cases) EXPECT_EQ(find_invalid_utf8(row.text), row.bad) << ::testing::PrintToString(row.text);
}

// One U+FFFD for each maximal part, as String::from_utf8_lossy gives.
TEST(Utf8, Lossy) {
  const std::pair<std::string, std::string> cases[] = {
      {"héllo", "héllo"},
      {"a\xff"
       "b",
       "a\ufffdb"},
      {"\xe2\x82", "\ufffd"},
      {"\xe2\x82"
       "a",
       "\ufffda"},
      {"\xf0\x9f\x98", "\ufffd"},
      {"\xf0\x9f\x98\xf0\x9f\x98\x80", "\ufffd😀"},
      {"\xc0\x80", "\ufffd\ufffd"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"\xe0\x80", "\ufffd\ufffd"},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(utf8_lossy(bytes), text);
}

TEST(Utf8, WalksAndAppendsEveryLength) {
  for (const char32_t character :
       {U'\0', U'a', U'\x7f', U'\x80', U'é', U'\u07ff', U'\u0800', U'€', U'\uffff', U'\U00010000', U'\U0010ffff'}) {
    std::string text = "x";
    append_utf8(text, character);
    EXPECT_EQ(find_invalid_utf8(text), text.npos);
    EXPECT_EQ(utf8_length(text[1]), text.size() - 1);
    size_t offset = 1;
    EXPECT_EQ(next_character(text, offset), character);
    EXPECT_EQ(offset, text.size());
    EXPECT_EQ(last_character(text), character);
  }
}

TEST(Utf8, WalksBrokenTextByMaximalParts) {
  const std::string_view text =
      "a\xe2\x82"
      "b\xff\xf0\x9f\x98\x80";
  size_t position = 0;
  const auto expect = [&](char32_t code, size_t end) {
    EXPECT_EQ(next_code_point(text, position), code);
    EXPECT_EQ(position, end);
  };
  expect('a', 1);
  expect(kInvalidUtf8, 3);
  expect('b', 4);
  expect(kInvalidUtf8, 5);
  expect(U'😀', 9);
}

}  // namespace
}  // namespace spikescope
