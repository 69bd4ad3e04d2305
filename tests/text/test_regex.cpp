#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "text/multi_pattern.h"
#include "text/pattern.h"
#include "text/regex.h"
#include "text/regex_syntax.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> matches(const std::string& pattern, std::string_view text) {
  const Regex regex(pattern, "test");
  Regex::Scanner scanner(regex, text);
  std::vector<std::string> found;
  for (Regex::Match match; scanner.next(match);) found.emplace_back(text.substr(match.begin, match.end - match.begin));
  return found;
}

using Strings = std::vector<std::string>;

TEST(Regex, FindsMatchesFromLeftToRight) {
  EXPECT_EQ(matches("[a-z]+", "ab 12 cd"), (Strings{"ab", "cd"}));
  EXPECT_EQ(matches("[a-z]+", ""), Strings{});
  EXPECT_EQ(matches("x*", "axxb"), (Strings{"", "xx", ""}));  // none at 3, right behind "xx"
  EXPECT_EQ(matches("", "aé"), (Strings{"", "", ""}));
  EXPECT_EQ(matches(R"(\s+(?!\S)|\s+)", "a  b "), (Strings{" ", " ", " "}));
  EXPECT_EQ(matches(R"(\p{N}{1,3})", "12345"), (Strings{"123", "45"}));
  EXPECT_EQ(matches("(?i:'s|'ll)", "It'S we'LL 'ſ"), (Strings{"'S", "'LL", "'ſ"}));
  EXPECT_EQ(matches("^a|b$", "a\nab\nb"), (Strings{"a", "a", "b", "b"}));  // ^ and $ at every line
  EXPECT_EQ(matches(".", "a\n\u2028"), (Strings{"a", "\u2028"}));
}

TEST(Regex, ClassesFollowUnicode) {
  EXPECT_EQ(matches(R"(\s)", "a\u0085\u180e\u3000\x0b"), (Strings{"\u0085", "\u3000", "\x0b"}));
  EXPECT_EQ(matches(R"([\S]+)", "a\u180e b"), (Strings{"a\u180e", "b"}));
  EXPECT_EQ(matches(R"([^\s]+)", "é\u2028x"), (Strings{"é", "x"}));
  EXPECT_EQ(matches(R"(\w+)", "a_é½ e\u0301-ⓐ"), (Strings{"a_é½", "e\u0301", "ⓐ"}));
  EXPECT_EQ(matches(R"([\w]+)", "a½"), (Strings{"a"}));
  EXPECT_EQ(matches(R"(\W+)", "a b"), (Strings{" "}));
  EXPECT_EQ(matches(R"(\d+)", "1٣½"), (Strings{"1٣"}));
  EXPECT_EQ(matches(R"(\h+)", "beef!"), (Strings{"beef"}));
  EXPECT_EQ(matches(R"(\p{Han}+)", "日本、語"), (Strings{"日本", "語"}));  // U+3001 is Common
  EXPECT_EQ(matches(R"(\P{Han}+)", "日a"), (Strings{"a"}));
  EXPECT_EQ(matches(R"([[:alpha:]]+)", "aⓐ1"), (Strings{"aⓐ"}));
  EXPECT_EQ(matches(R"(\u00e9)", "é"), (Strings{"é"}));
  EXPECT_EQ(matches(R"( ?[^(\s|[.,])]+)", "ab (c|d.e"), (Strings{"ab", "c", "d", "e"}));  // Bloom's, shortened
}

TEST(RegexSyntax, RewritesWhatPcre2ReadsDifferently) {
  const std::pair<const char*, const char*> cases[] = {
      {"a{2,3}", "a{2,3}"},
      {"a{,2}", "a{0,2}"},
      {"a{1,3}+", "a{1,}"},
      {"a{2}b", "a{2}b"},
      {"{x}", "{x}"},
      {R"(\{2,3})", R"(\{2,3})"},
      {R"(\x{41}+)", R"(\x{41}+)"},
      {R"(\p{L}+)", R"(\p{L}+)"},
      {R"(\p{^Latin})", R"(\p{^sc:Latin})"},
      {"[]a]", "[]a]"},
      {"[^]a]+", "[^]a]+"},
      {R"([\]\[])", R"([\]\[])"},
      {R"(\\s)", R"(\\s)"},
      {"[^a[bc]d]e]", "[^abcd]e]"},
      {R"([(\s|[.,[!]])])", R"([(\p{White_Space}|.,!)])"},
      {"a++b?+", "a++b?+"},
      {"(?i:a)(?!b)", "(?i:a)(?!b)"},
  };
  for (const auto& [pattern, expected] : cases) EXPECT_EQ(to_pcre2_syntax(pattern, "test"), expected);
}

TEST(RegexSyntax, RefusesWhatItCannotKeep) {
  for (const char* pattern : {"[a&&b]", "[a[^bc]]", "[a-[bc]]", "[a[b]-z]", "[a[]b]]", R"([\W])", R"([\H])", "(?m)a.b",
                              "(*LIMIT_MATCH=1)a", "[[:print:]]", R"(\u12)", R"(\p{L)", "a{3,4}+"}) {
    EXPECT_THROW(to_pcre2_syntax(pattern, "here"), Error) << pattern;
  }
  try {
    Regex("ab[x&&y]", "tokenizer.json: pre_tokenizer");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "tokenizer.json: pre_tokenizer: the regular expression \"ab[x&&y]\" has the set operation && at byte "
                 "4, which is not supported");
  }
}

TEST(Regex, RefusesWhatDoesNotCompile) {
  for (const char* pattern : {"(", "a)", "[z-a]", R"(\p{Nonsense})", "(?<=a+)b", R"(\C)", "x{70000}"}) {
    EXPECT_THROW(Regex(pattern, "here"), Error) << pattern;
  }
}

TEST(Regex, GivesUpOnRunawayBacktracking) {
  const Regex regex("(?:a+)+[0-9]", "here");
  const std::string text(60, 'a');
  Regex::Scanner scanner(regex, text);
  Regex::Match match;
  try {
    scanner.next(match);
    FAIL() << "no match was to be expected";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("gave up at byte 0"));
    EXPECT_THAT(error.what(), HasSubstr("here"));
  }
}

// Words that each come close to the limit must not add up to minutes.
TEST(Regex, GivesUpSoonOnShortTexts) {
  const Regex regex("(?:a|a|a|aa)+$|x", "here");
  const std::string text = std::string(24, 'a') + "b";
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    Regex::Scanner scanner(regex, text);
    Regex::Match match;
    EXPECT_THROW(scanner.next(match), Error);
  }
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 2.0);
}

TEST(Regex, LongMatchesNeedNoStack) {
  const std::string words = R"('s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
  for (const char* unit : {"a", "é", "!", " ", "7", "\n"}) {
    std::string text;
    for (int i = 0; i < 1'000'000; ++i) text += unit;
    EXPECT_EQ(matches(words, text), Strings{text}) << unit;
  }
  EXPECT_EQ(matches("(?:ab|cd)+",
                    [] {
                      std::string text;
                      for (int i = 0; i < 200'000; ++i) text += "abcd";
                      return text;
                    }())
                .size(),
            1u);
}

TEST(Pattern, ReplacesLiteralsAndExpressions) {
  EXPECT_EQ(Pattern(std::string("aa")).replace("aaaab", "x"), "xxb");
  EXPECT_EQ(Pattern(Regex("[0-9]+", "test")).replace("a12b3", "#"), "a#b#");
  EXPECT_EQ(Pattern(std::string("a")).replace("aaaaaaaa", "xxxx", 9), "xxxxxxxxxxxx");  // given up when too long
}

TEST(MultiPattern, LeftmostLongest) {
  const MultiPattern patterns({"ab", "abcd", "bc", "", "d", "ab"});
  std::vector<std::array<size_t, 3>> found;
  for (const auto& match : patterns.find_all("abcabcdd")) found.push_back({match.begin, match.end, match.pattern});
  EXPECT_EQ(found, (std::vector<std::array<size_t, 3>>{{0, 2, 0}, {3, 7, 1}, {7, 8, 4}}));
  EXPECT_TRUE(MultiPattern().find_all("abc").empty());
  EXPECT_TRUE(patterns.find_all("").empty());
}

TEST(MultiPattern, EqualsTryingEveryPatternEverywhere) {
  uint32_t state = 1;
  const auto random = [&](uint32_t bound) { return (state = state * 1664525 + 1013904223) / 65536 % bound; };
  const auto word = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random(2));
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> patterns;
    for (int i = 0; i < 6; ++i) patterns.push_back(word(1 + random(6)));
    const std::string text = word(60);
    std::vector<std::pair<size_t, size_t>> expected, found;
    for (size_t at = 0; at < text.size();) {
      size_t longest = 0;
      for (const auto& pattern : patterns) {
        if (pattern.size() > longest && text.compare(at, pattern.size(), pattern) == 0) longest = pattern.size();
      }
      if (longest) expected.emplace_back(at, at + longest);
      at += std::max<size_t>(longest, 1);
    }
    for (const auto& match : MultiPattern(patterns).find_all(text)) {
      found.emplace_back(match.begin, match.end);
      EXPECT_EQ(text.substr(match.begin, match.end - match.begin), patterns[match.pattern]);
    }
    EXPECT_EQ(found, expected);
  }
}

// "aaa...b" against a text of a's costs a scan of the pattern at every place when done place by place.
TEST(MultiPattern, LinearForHostilePatterns) {
  const std::string text(2'000'000, 'a');
  const MultiPattern patterns({std::string(20'000, 'a') + "b", "b" + std::string(20'000, 'a'), "aab"});
  EXPECT_TRUE(patterns.find_all(text).empty());
}

}  // namespace
}  // namespace spikescope
