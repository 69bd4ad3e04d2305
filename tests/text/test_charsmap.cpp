// SentencePiece's compiled rules, sound and broken.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/utf8.h"
#include "charsmap_builder.h"
#include "error_of.h"
#include "text/charsmap.h"
#include "text/graphemes.h"

namespace spikescope {
namespace {

using testing::base64;
using testing::charsmap_bytes;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

std::string applied(const std::string& map_bytes, std::string text) {
  Charsmap::from_bytes(map_bytes, "map").apply(text);
  return text;
}

TEST(Graphemes, AreWhatReadersTakeForCharacters) {
  const auto cut = [](std::string_view text) {
    std::vector<std::string> graphemes;
    for_each_grapheme(text, [&](std::string_view grapheme) { graphemes.emplace_back(grapheme); });
    return graphemes;
  };
  EXPECT_THAT(cut("ab\r\n\nc"), ElementsAre("a", "b", "\r\n", "\n", "c"));
  EXPECT_THAT(cut("e\u0301a日本"), ElementsAre("e\u0301", "a", "日", "本"));
  EXPECT_THAT(cut("x👩‍👧y🇩🇪🇫🇷"), ElementsAre("x", "👩‍👧", "y", "🇩🇪", "🇫🇷"));
  EXPECT_THAT(cut("\u06001"), ElementsAre("\u06001"));  // a mark in front of what it belongs to
  EXPECT_THAT(cut(""), ElementsAre());
}

TEST(Charsmap, ReplacesWhatItKnows) {
  const std::string map = charsmap_bytes({{"ﬁ", "fi"}, {"\t", " "}, {"\u200b", ""}, {"e\u0301", "é"}, {"Å", "A+"}});
  EXPECT_EQ(applied(map, "ﬁsh\tis\u200b e\u0301 Ångström"), "fish is é A+ngström");
  EXPECT_EQ(applied(map, "plain\n日本"), "plain\n日本");
  EXPECT_EQ(applied(map, ""), "");
  EXPECT_EQ(applied(map, std::string("a\0b", 3)), std::string("a\0b", 3));
  std::string text = "ﬁ";
  Charsmap::from_base64(base64(map), "map").apply(text);
  EXPECT_EQ(text, "fi");
}

// As the `tokenizers` library does it: in a grapheme of less than six bytes, a rule for its beginning stands for the
// whole; in longer ones, each character has its own.
TEST(Charsmap, GraphemesGoAsAWhole) {
  const std::string map = charsmap_bytes({{"\r", " "}, {"o", "0"}, {"日", "d"}});
  EXPECT_EQ(applied(map, "a\r\nb"), "a b");
  EXPECT_EQ(applied(map, "o\u0301"), "0");
  EXPECT_EQ(applied(map, "o\u0301\u0301\u0301"), "0\u0301\u0301\u0301");
  EXPECT_EQ(applied(map, "日\u0301"), "d");
}

TEST(Charsmap, StopsWhereTheTextGrowsTooLong) {
  const Charsmap map = Charsmap::from_bytes(charsmap_bytes({{"a", std::string(1000, 'b')}}), "map");
  std::string text(100'000, 'a');
  map.apply(text, 5000);
  EXPECT_EQ(text.size(), 6000u);
}

TEST(Charsmap, RefusesBrokenBytes) {
  const std::string good = charsmap_bytes({{"a", "b"}, {"日", "d"}});
  const auto refusal = [](const std::string& bytes) {
    return error_of([&] { Charsmap::from_bytes(bytes, "t.json: normalizer"); });
  };
  EXPECT_EQ(refusal(good), "");
  for (size_t size = 0; size < good.size(); ++size) {  // the replacements may end anywhere
    const bool whole = size >= good.size() - 4;
    EXPECT_EQ(refusal(good.substr(0, size)).empty(), whole) << size;
  }
  EXPECT_THAT(refusal(std::string("\xff\xff\xff\xff") + good.substr(4)),
              HasSubstr("t.json: normalizer: precompiled_charsmap has"));
  EXPECT_THAT(refusal(std::string("\x03\0\0\0", 4) + good.substr(4)), HasSubstr("expected a multiple of 4"));
  EXPECT_THAT(refusal(good + "\xff"), HasSubstr("replacements of precompiled_charsmap are not valid UTF-8 at byte 4"));
  for (const char* text : {"abc", "ab=c", "a===", "ab\ncdefg", "àbcd"}) {
    EXPECT_THAT(error_of([&] { Charsmap::from_base64(text, "t.json: normalizer"); }),
                HasSubstr("t.json: normalizer: precompiled_charsmap"))
        << text;
  }
}

// Units that lead outside the array, or to no replacement.
TEST(Charsmap, RefusesOffsetsThatLeadOutside) {
  const std::string good = charsmap_bytes({{"a", "é"}});
  const auto with_unit = [&](size_t unit, uint32_t bits) {
    std::string bytes = good;
    std::memcpy(bytes.data() + 4 + unit * 4, &bits, 4);
    return error_of([&] { applied(bytes, "a"); });
  };
  uint32_t root = 0;
  std::memcpy(&root, good.data() + 4, 4);
  const uint32_t at_a = (root >> 10) ^ 'a';
  EXPECT_THAT(with_unit(0, UINT32_MAX), HasSubstr("map: precompiled_charsmap leads to unit"));
  EXPECT_THAT(with_unit(at_a, 0x3ffff << 10 | 1u << 8 | 'a'), HasSubstr("precompiled_charsmap leads to unit"));
  EXPECT_THAT(with_unit(at_a, at_a << 10 | 1u << 8 | 'a'), HasSubstr("leads to byte"));  // the root is no value
  uint32_t bits = 0;
  std::memcpy(&bits, good.data() + 4 + at_a * 4, 4);
  const uint32_t value = at_a ^ (bits >> 10);
  EXPECT_THAT(with_unit(value, 1u << 31 | 77), HasSubstr("leads to byte 77 of its 3 bytes of replacements"));
  EXPECT_THAT(with_unit(value, 1u << 31 | 1), HasSubstr("leads to byte 1 of"));  // inside a character
  EXPECT_EQ(with_unit(value, 1u << 31 | 2), "");
}

// Whatever the bytes, an end: a text that is valid, or one line of error.
TEST(Charsmap, RandomDamage) {
  uint32_t state = 3;
  const auto random = [&](uint32_t bound) { return (state = state * 1664525 + 1013904223) / 65536 % bound; };
  const std::string good = charsmap_bytes({{"a", "b"}, {"日", "d"}, {"日本", "e"}, {"e\u0301", "é"}});
  int accepted = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    for (uint32_t i = 0; i <= random(4); ++i) {
      bytes[random(static_cast<uint32_t>(bytes.size()))] = static_cast<char>(random(256));
    }
    const std::string message = error_of([&] {
      const std::string text = applied(bytes, "a日本e\u0301x");
      EXPECT_EQ(find_invalid_utf8(text), text.npos);
    });
    ++(message.empty() ? accepted : refused);
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace spikescope
