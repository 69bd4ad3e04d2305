// The WordPiece model against a plain implementation, and its options one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "error_of.h"
#include "text/word_piece.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

struct Made {
  std::shared_ptr<Vocabulary> vocabulary;
  std::unique_ptr<WordPiece> model;
  Workspace workspace;

  std::vector<std::string> encode(std::string_view word) {
    std::vector<int64_t> ids;
    model->encode(word, workspace, ids);
    std::vector<std::string> pieces;
    for (const int64_t id : ids) pieces.push_back(*vocabulary->piece(id));
    return pieces;
  }
};

Made make(const std::vector<std::string>& pieces, const WordPieceOptions& options = {}) {
  Made made;
  made.vocabulary = std::make_shared<Vocabulary>(pieces.size(), "test");
  for (size_t i = 0; i < pieces.size(); ++i) made.vocabulary->add(pieces[i], static_cast<int64_t>(i));
  made.model = std::make_unique<WordPiece>(made.vocabulary, options, "test");
  return made;
}

const std::vector<std::string> kPieces = {"[UNK]", "un", "want", "##want", "##ed", "wa", "##wa", "é", "##é", "##"};

TEST(WordPiece, TakesTheLongestPieceFromTheLeft) {
  Made made = make(kPieces);
  EXPECT_THAT(made.encode("unwanted"), ElementsAre("un", "##want", "##ed"));
  EXPECT_THAT(made.encode("wanted"), ElementsAre("want", "##ed"));
  EXPECT_THAT(made.encode("wawa"), ElementsAre("wa", "##wa"));
  EXPECT_THAT(made.encode("ééé"), ElementsAre("é", "##é", "##é"));
  EXPECT_THAT(made.encode("wax"), ElementsAre("[UNK]"));  // the whole word, whatever fits before
  EXPECT_THAT(made.encode("ed"), ElementsAre("[UNK]"));   // only inside words
  EXPECT_THAT(made.encode("##wa"), ElementsAre("##wa"));  // text that looks like a piece is taken for it
  EXPECT_EQ(made.model->description(), "WordPiece, 10 pieces");
}

TEST(WordPiece, OtherPrefixes) {
  EXPECT_THAT(make({"?", "ab", "c"}, {.unk_token = "?", .continuing_subword_prefix = ""}).encode("abcab"),
              ElementsAre("ab", "c", "ab"));
  EXPECT_THAT(make({"?", "ab", "ca"}, {.unk_token = "?", .continuing_subword_prefix = "zz"}).encode("abca"),
              ElementsAre("?"));
}

TEST(WordPiece, LongWordsAreUnknown) {
  Made made = make(kPieces, {.max_input_chars_per_word = 3});
  EXPECT_THAT(made.encode("ééé"), ElementsAre("é", "##é", "##é"));  // characters, not bytes
  EXPECT_THAT(made.encode("éééé"), ElementsAre("[UNK]"));
  EXPECT_THAT(make(kPieces, {.max_input_chars_per_word = INT64_MAX}).encode(std::string(50, 'w')),
              ElementsAre("[UNK]"));
}

// The definition: cut characters off the end until a piece fits.
std::vector<std::string> plain_word_piece(const std::string& word, const Vocabulary& vocabulary) {
  std::vector<std::string> pieces;
  for (size_t begin = 0; begin < word.size();) {
    size_t end = word.size();
    std::string piece;
    for (; end > begin; --end) {
      piece = (begin == 0 ? "" : "##") + word.substr(begin, end - begin);
      if (vocabulary.find(piece) >= 0) break;
    }
    if (end == begin) return {"[UNK]"};
    pieces.push_back(piece);
    begin = end;
  }
  return pieces;
}

TEST(WordPiece, EqualsThePlainDefinition) {
  std::mt19937 random(3);
  const auto letters = [&](size_t length) {
    std::string word;
    for (size_t i = 0; i < length; ++i) word += static_cast<char>('a' + random() % 3);
    return word;
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> pieces = {"[UNK]", "a", "##a", "##b", "b"};
    for (int i = 0; i < 15; ++i) {
      const std::string piece = (random() % 2 ? "##" : "") + letters(1 + random() % 4);
      if (std::find(pieces.begin(), pieces.end(), piece) == pieces.end()) pieces.push_back(piece);
    }
    Made made = make(pieces);
    for (int i = 0; i < 30; ++i) {
      const std::string word = letters(1 + random() % 40);
      EXPECT_EQ(made.encode(word), plain_word_piece(word, *made.vocabulary)) << word;
      EXPECT_EQ(made.encode(word), plain_word_piece(word, *made.vocabulary)) << "from the cache: " << word;
    }
  }
}

TEST(WordPiece, Refuses) {
  EXPECT_THAT(error_of([] { make({"a"}); }), HasSubstr("test: unk_token \"[UNK]\" is not in the vocabulary"));
  EXPECT_THAT(error_of([] { make({"[UNK]", std::string(2000, 'a')}); }), HasSubstr("has 2000 bytes, expected at most"));
}

}  // namespace
}  // namespace spikescope
