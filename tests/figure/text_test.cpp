#include "figure/text.h"

#include <gtest/gtest.h>

#include "figure/samples.h"

namespace spikescope {
namespace {

TEST(ValidUtf8, KeepsWhatIsValidAndReplacesTheRest) {
  EXPECT_EQ(valid_utf8("é\n\t日本🙂"), "é\n\t日本🙂");
  EXPECT_EQ(valid_utf8("a\xff"
                       "b"),
            "a\uFFFDb");
  EXPECT_EQ(valid_utf8("\xc3("), "\uFFFD(");                              // cut in two bytes
  EXPECT_EQ(valid_utf8("\xe2\x82"), "\uFFFD");                            // cut at the end
  EXPECT_EQ(valid_utf8("\xc0\xaf"), "\uFFFD\uFFFD");                      // overlong /
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(valid_utf8(std::string_view("a\0b", 3)), "a\uFFFDb");
}

TEST(VisibleText, ShowsWhatHides) {
  EXPECT_EQ(visible_text("a\nb\tc"), "a\u23CEb\u21E5c");
  EXPECT_EQ(visible_text(std::string_view("\0\x1b\x7f", 3)), "‹U+0000›‹U+001B›‹U+007F›");
  EXPECT_EQ(visible_text("\u202Ea\u200Bb"), "‹U+202E›a‹U+200B›b");
  EXPECT_EQ(visible_text("\uFFFE\u0085"), "‹U+FFFE›‹U+0085›");
  EXPECT_EQ(visible_text("שלום"), "שלום");
  EXPECT_EQ(visible_text(""), "");
}

TEST(VisibleText, CutsByCells) {
  EXPECT_EQ(visible_text("abcdef", 6), "abcdef");
  EXPECT_EQ(visible_text("abcdefg", 6), "abcde…");
  EXPECT_EQ(visible_text("日本語", 4), "日…");
  EXPECT_LE(display_cells(visible_text(std::string(5000, 'W'), 40)), 40u);
}

TEST(VisibleText, KeepsAFewMarksALetter) {
  std::string tower = "e";
  for (int i = 0; i < 100; ++i) tower += "\u0301";
  EXPECT_EQ(visible_text(tower), "e\u0301\u0301\u0301\u0301");
}

TEST(VisibleText, IsAlwaysValidUtf8OnOneLine) {
  for (const std::string& text : testing::hostile_strings()) {
    const std::string shown = visible_text(text);
    EXPECT_EQ(shown, valid_utf8(shown));
    for (const char c : shown) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f) << shown;
  }
}

TEST(EscapeMarkup, EscapesContentAndLeavesQuotes) {
  EXPECT_EQ(escape_markup("<b>\"a\" & 'b'</b>"), "&lt;b&gt;\"a\" &amp; 'b'&lt;/b&gt;");
}

TEST(DisplayCells, CountsColumns) {
  EXPECT_EQ(display_cells("abc"), 3u);
  EXPECT_EQ(display_cells("日本"), 4u);
  EXPECT_EQ(display_cells("e\u0301"), 1u);
}

TEST(TextWidth, GrowsWithTheText) {
  EXPECT_EQ(text_width(""), 0);
  EXPECT_LT(text_width("iii"), text_width("mmm"));
  EXPECT_GT(text_width("日本"), text_width("ab"));
}

}  // namespace
}  // namespace spikescope
