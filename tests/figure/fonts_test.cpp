#include "figure/fonts.h"

#include <gtest/gtest.h>

namespace spikescope {
namespace {

TEST(FontCoverage, ReadsRangesInAnyOrder) {
  const FontCoverage fonts("3040-309f 20-7e\n25a1 a0\n30-200\n");
  for (const char32_t code : {0x20, 0x7E, 0x7F, 0x200, 0x25A1, 0x3040, 0x309F})
    EXPECT_TRUE(fonts.covers(code)) << static_cast<unsigned>(code);
  for (const char32_t code : {0x1F, 0x201, 0x25A0, 0x25A2, 0x303F, 0x30A0})
    EXPECT_FALSE(fonts.covers(code)) << static_cast<unsigned>(code);
}

TEST(FontCoverage, IgnoresWhatIsNoRange) {
  const FontCoverage fonts("error: no fonts\n9-5 41-\n-7 zz");
  EXPECT_FALSE(fonts.covers('A'));
  EXPECT_FALSE(fonts.covers(7));
}

TEST(FontCoverage, SquaresKeepTheWidth) {
  const FontCoverage fonts("20-17f 25a1");
  EXPECT_EQ(fonts.drawable("é日本e\u0301x\u2400"), "é□□□□ex□");
  EXPECT_EQ(FontCoverage("").drawable("a日"), "a??");
}

TEST(InstalledFonts, HaveWhatFiguresUse) {
  for (const char32_t code : {U'a', U'é', U'⁴', U'−', U'…'})
    EXPECT_TRUE(installed_fonts().covers(code)) << static_cast<unsigned>(code);
}

}  // namespace
}  // namespace spikescope
