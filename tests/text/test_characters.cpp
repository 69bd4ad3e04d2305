#include <gtest/gtest.h>

#include "text/byte_level.h"
#include "text/characters.h"

namespace spikescope {
namespace {

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
  EXPECT_TRUE(is_accent(0x301) && !is_accent(0x903) && !is_accent('a'));
  EXPECT_TRUE(is_control('\a') && is_control(0x7f) && is_control(0xad) && is_control(0xe000));
  EXPECT_FALSE(is_control(' ') || is_control(U'é') || is_control(0x378));  // no character at all
  EXPECT_FALSE(is_accent(0x1ac1) || is_control(0x890) || is_punctuation(0x2e4f) || is_mark(0x1abf));  // too young
  std::string lower;
  for (const char32_t c : U"AÉ\u0130Σß") {
    if (c) append_lowercase(lower, c);
  }
  EXPECT_EQ(lower, "aéi\u0307σß");
}

}  // namespace
}  // namespace spikescope
