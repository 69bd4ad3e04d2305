#include <gtest/gtest.h>

#include "text/byte_level.h"
#include "text/characters.h"
#include "text/utf8.h"

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

TEST(ByteLevel, SpellsEveryByteAndBack) {
  EXPECT_EQ(byte_level_spell(" the\n\xc3\xa9"), "ĠtheĊÃ©");
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(byte_level_bytes(byte_level_spell(bytes)), bytes);
  EXPECT_EQ(byte_level_bytes("a b"), std::nullopt);  // a space spells no byte
  EXPECT_EQ(byte_level_bytes("日"), std::nullopt);
}

TEST(Characters, Classes) {
  EXPECT_TRUE(is_whitespace(' ') && is_whitespace(0x85) && is_whitespace(0x3000) && is_whitespace(0x2028));
  EXPECT_FALSE(is_whitespace(0x180e) || is_whitespace(0x200b) || is_whitespace('a'));
  EXPECT_TRUE(is_numeric('7') && is_numeric(U'½') && is_numeric(U'٣') && is_numeric(U'Ⅷ'));
  EXPECT_FALSE(is_numeric('a') || is_numeric(U'一'));
  EXPECT_TRUE(is_word('_') && is_word(U'é') && is_word(0x301) && is_word(0x200d) && is_word(U'一'));
  EXPECT_FALSE(is_word('-') || is_word(' ') || is_word(U'½'));
  EXPECT_TRUE(is_punctuation('$') && is_punctuation(U'«') && is_punctuation('~'));
  EXPECT_FALSE(is_punctuation('a') || is_punctuation(U'€') || is_punctuation(' '));
  EXPECT_TRUE(is_mark(0x301) && is_mark(0x903));
  std::string lower;
  for (const char32_t c : U"AÉ\u0130Σß") {
    if (c) append_lowercase(lower, c);
  }
  EXPECT_EQ(lower, "aéi\u0307σß");
}

}  // namespace
}  // namespace spikescope
