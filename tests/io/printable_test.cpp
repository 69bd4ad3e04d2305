#include "io/printable.h"

#include <gtest/gtest.h>

namespace spikescope {
namespace {

TEST(Printable, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(printable("blk.0.attn_q \"x\" café ▁the 🙂"), "blk.0.attn_q \"x\" café ▁the 🙂");
  EXPECT_EQ(printable("a\nb\t\x7f"), "a\\x0ab\\x09\\x7f");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\xc2\x85|\u2028"), "\\xc2\\x85|\\xe2\\x80\\xa8");  // line breaks beyond ASCII
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");           // overlong
  EXPECT_EQ(printable("\xe0\x9f\xbf"), "\\xe0\\x9f\\xbf");  // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(printable("\xe2\x82x"), "\\xe2\\x82x");  // cut short
}

TEST(Printable, CutsLongText) {
  EXPECT_EQ(printable(std::string(10, 'a'), 10), std::string(10, 'a'));
  EXPECT_EQ(printable(std::string(11, 'a'), 10), std::string(10, 'a') + "...");
  EXPECT_EQ(printable("éé", 1), "é...");  // whole characters
}

}  // namespace
}  // namespace spikescope
