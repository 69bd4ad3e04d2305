#include "analyses/labels.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "base/error.h"

namespace spikescope {
namespace {

TEST(Labels, PiecesReadable) {
  EXPECT_EQ(readable_piece("Ġthe"), " the");
  EXPECT_EQ(readable_piece("▁the"), " the");
  EXPECT_EQ(readable_piece("ĊĊ"), "\\n\\n");
  EXPECT_EQ(readable_piece("a\tb\x01"), "a\\tb\\x01");
  EXPECT_EQ(readable_piece("é"), "é");
}

TEST(Labels, TokensWithPromptAndWithoutPieces) {
  DumpTokens tokens;
  tokens.ids = {5, 6, 7};
  tokens.offsets = {0, 1, 3};
  tokens.strings = {"a", "Ġb", ""};
  EXPECT_EQ(token_label(tokens, 1, 0), "0 ' b'");
  EXPECT_EQ(token_text(tokens, 2), "id 7");
  EXPECT_EQ(token_row(tokens, 1, 1), 2);
  for (const auto& [prompt, token] : {std::pair(2, 0), std::pair(-1, 0), std::pair(0, 1), std::pair(1, -1)}) {
    EXPECT_THROW(token_label(tokens, prompt, token), Error);
  }
  tokens.strings.clear();
  EXPECT_EQ(token_text(tokens, 0), "id 5");
}

TEST(Labels, Numbers) {
  EXPECT_EQ(number(23147.14), "23,147");
  EXPECT_EQ(number(-1234567.0), "-1,234,567");
  EXPECT_EQ(number(712.99), "713.0");
  EXPECT_EQ(number(-14.267), "-14.27");
  EXPECT_EQ(number(0.0084), "0.0084");
  EXPECT_EQ(number(0.0), "0");
  EXPECT_EQ(number(1.23e-7), "1.23e-07");
  EXPECT_EQ(number(4e12), "4e+12");
  EXPECT_EQ(number(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(number(Json(nullptr)), "-");
  EXPECT_TRUE(number_or_null(std::numeric_limits<double>::infinity()).is_null());
  EXPECT_EQ(number_or_null(2.5), 2.5);
  EXPECT_EQ(percent(0.5111), "51.1 %");
}

TEST(Number, HasAnErrorOfTwoDigitsInItsOwnNotation) {
  EXPECT_EQ(number(0.991, 0.0021), "0.991 ± 0.0021");
  EXPECT_EQ(number(22708.4, 5.23), "22,708 ± 5.2");
  EXPECT_EQ(number(22708.4, 99.6), "22,708 ± 100");
  EXPECT_EQ(number(22708.4, 523.0), "22,708 ± 520");
  EXPECT_EQ(number(2702166.0, 8.3e6), "2,702,166 ± 8,300,000");
  EXPECT_EQ(number(3.0, 0.0), "3.000");
  EXPECT_EQ(number(3.0, std::numeric_limits<double>::quiet_NaN()), "3.000");
}

TEST(Labels, Words) {
  EXPECT_EQ(join_words({"a"}), "a");
  EXPECT_EQ(join_words({"a", "b"}), "a and b");
  EXPECT_EQ(join_words({"a", "b", "c"}), "a, b and c");
  EXPECT_EQ(layer_range(3, 9), "layers 3 to 9");
  EXPECT_EQ(layer_range(3, 3), "layer 3");
}

}  // namespace
}  // namespace spikescope
