// The Unigram model against a plain implementation, and its options one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/utf8.h"
#include "error_of.h"
#include "text/unigram.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using Scores = std::vector<std::pair<std::string, double>>;

struct Made {
  std::shared_ptr<Vocabulary> vocabulary;
  std::unique_ptr<Unigram> model;
  Workspace workspace;

  std::vector<std::string> encode(std::string_view word) {
    std::vector<int64_t> ids;
    model->encode(word, workspace, ids);
    std::vector<std::string> pieces;
    for (const int64_t id : ids) pieces.push_back(*vocabulary->piece(id));
    return pieces;
  }
};

Made make(const Scores& pieces, UnigramOptions options = {.unk_id = 0}) {
  Made made;
  made.vocabulary = std::make_shared<Vocabulary>(pieces.size(), "test");
  std::vector<double> scores;
  for (const auto& [piece, score] : pieces) {
    made.vocabulary->add(piece, static_cast<int64_t>(scores.size()));
    scores.push_back(score);
  }
  made.model = std::make_unique<Unigram>(made.vocabulary, scores, options, "test");
  return made;
}

TEST(Unigram, TakesTheHighestSum) {
  Made made = make({{"<unk>", 0}, {"a", -2}, {"b", -2}, {"c", -2}, {"ab", -3}, {"bc", -2.5}, {"abc", -9}});
  EXPECT_THAT(made.encode("abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(made.encode("ab"), ElementsAre("ab"));
  EXPECT_THAT(made.encode("cab"), ElementsAre("c", "ab"));
  EXPECT_EQ(made.model->description(), "Unigram, 7 pieces");
}

TEST(Unigram, OfEqualSumsTheLongerLastPieceStays) {
  Made made = make({{"<unk>", 0}, {"a", -1}, {"aa", -2}, {"aaa", -3}});
  EXPECT_THAT(made.encode("aaaa"), ElementsAre("a", "aaa"));  // as `tokenizers` 0.23.3 has it
}

TEST(Unigram, UnknownCharacters) {
  const Scores pieces = {{"<unk>", 0}, {"a", -1}, {"<0xC3>", 0}, {"<0xA9>", 0}};
  Made made = make(pieces);
  EXPECT_THAT(made.encode("xyaz"), ElementsAre("<unk>", "a", "<unk>"));  // one for a run
  EXPECT_THAT(made.encode("é"), ElementsAre("<unk>"));
  Made bytes = make(pieces, {.unk_id = 0, .byte_fallback = true});
  EXPECT_THAT(bytes.encode("aé"), ElementsAre("a", "<0xC3>", "<0xA9>"));
  EXPECT_THAT(bytes.encode("éx"), ElementsAre("<unk>"));  // a byte of the run has no piece
  Made none = make(pieces, {});
  EXPECT_THAT(none.encode("aa"), ElementsAre("a", "a"));
  EXPECT_THAT(error_of([&] { none.encode("ab"); }), HasSubstr("test: the text has \"b\", which no piece has"));
}

// Pieces that score above an unknown character tenfold lose to a run of these, and come back as the run's name.
TEST(Unigram, ARunOfUnknownCharactersMayBeAPiece) {
  Made made = make({{"<unk>", 1000}, {"xy", 500}});
  EXPECT_THAT(made.encode("xy"), ElementsAre("xy"));
  EXPECT_THAT(made.encode("xyz"), ElementsAre("<unk>"));
}

// The definition: of all ways to cut the word, the best; of equal ones, that whose last piece begins further left.
double best_cut(const std::string& word, const Scores& pieces, double unknown, std::vector<std::string>& best) {
  if (word.empty()) return 0;
  double highest = -std::numeric_limits<double>::infinity();
  for (size_t begin = 0; begin < word.size(); begin += utf8_length(word[begin])) {
    const std::string last = word.substr(begin);
    const auto same = [&](const auto& entry) { return entry.first == last; };
    const auto known = std::find_if(pieces.begin(), pieces.end(), same);
    if (known == pieces.end() && last.size() > utf8_length(last[0])) continue;
    std::vector<std::string> cut;
    const double sum =
        best_cut(word.substr(0, begin), pieces, unknown, cut) + (known == pieces.end() ? unknown : known->second);
    if (sum <= highest) continue;
    highest = sum;
    cut.push_back(last);
    best = cut;
  }
  return highest;
}

TEST(Unigram, EqualsThePlainDefinition) {
  std::mt19937 random(11);
  const std::vector<std::string> letters = {"a", "b", "é", "日"};
  const auto word_of = [&](size_t length) {
    std::string word;
    for (size_t i = 0; i < length; ++i) word += letters[random() % letters.size()];
    return word;
  };
  for (int round = 0; round < 60; ++round) {
    Scores pieces = {{"<unk>", 0}};
    double worst = 0;
    for (int i = 0; i < 12; ++i) {
      const std::string piece = word_of(1 + random() % 4);
      const auto same = [&](const auto& entry) { return entry.first == piece; };
      if (std::any_of(pieces.begin(), pieces.end(), same)) continue;
      pieces.emplace_back(piece, -static_cast<double>(1 + random() % 10000) / 1024);
      worst = std::min(worst, pieces.back().second);
    }
    Made made = make(pieces);
    for (int i = 0; i < 20; ++i) {
      const std::string word = word_of(1 + random() % 9);
      std::vector<std::string> cut, expected;
      best_cut(word, pieces, worst - 10, cut);
      for (const std::string& piece : cut) {
        const bool known = made.vocabulary->find(piece) >= 0;
        if (known || expected.empty() || expected.back() != "<unk>") expected.push_back(known ? piece : "<unk>");
      }
      EXPECT_EQ(made.encode(word), expected) << word;
      EXPECT_EQ(made.encode(word), expected) << "from the cache: " << word;
    }
  }
}

TEST(Unigram, Refuses) {
  for (const double score : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_THAT(error_of([&] { make({{"<unk>", 0}, {"a", score}}); }), HasSubstr("test: the score of piece 1 (\"a\")"));
  }
  EXPECT_THAT(error_of([] { make({{"a", 0}}, {.unk_id = 1}); }), HasSubstr("test: unk_id is 1, which no piece has"));
  EXPECT_THAT(error_of([] { make({{"a", 0}}, {.unk_id = -1}); }), HasSubstr("unk_id is -1"));
  EXPECT_THAT(error_of([] { make({{std::string(2000, 'a'), 0}}); }), HasSubstr("has 2000 bytes, expected at most"));
}

// Sums beyond float64 are infinite, and any order of them ends.
TEST(Unigram, HugeScores) {
  const double huge = std::numeric_limits<double>::max();
  for (const double sign : {1.0, -1.0}) {
    Made made = make({{"<unk>", 0}, {"a", sign * huge}, {"aa", sign * huge}, {"b", -huge}});
    std::string text;
    for (const std::string& piece : made.encode("aaaaabaaaab")) text += piece;
    EXPECT_EQ(text, "aaaaabaaaab");
  }
}

}  // namespace
}  // namespace spikescope
