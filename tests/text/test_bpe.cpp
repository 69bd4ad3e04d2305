// The BPE model against a plain implementation, and its options one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/merge_queue.h"
#include "text/spm_merges.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Model {
  std::shared_ptr<Vocabulary> vocabulary;
  std::unique_ptr<Bpe> bpe;
  Workspace workspace;

  std::vector<std::string> encode(std::string_view word) {
    std::vector<int64_t> ids;
    bpe->encode(word, workspace, ids);
    std::vector<std::string> pieces;
    for (const int64_t id : ids) pieces.push_back(*vocabulary->piece(id));
    return pieces;
  }
};

Model make(const std::vector<std::string>& pieces, const std::vector<MergePair>& merges, BpeOptions options = {}) {
  Model model;
  model.vocabulary = std::make_shared<Vocabulary>(pieces.size(), "test");
  for (size_t i = 0; i < pieces.size(); ++i) model.vocabulary->add(pieces[i], static_cast<int64_t>(i));
  const size_t prefix = options.continuing_subword_prefix.size();
  model.bpe = std::make_unique<Bpe>(model.vocabulary, rules_of_merges(merges, *model.vocabulary, prefix, "test"),
                                    options, "test");
  return model;
}

const std::vector<std::string> kLetters = {"a", "b", "c", "ab", "bc", "abc", "aa", "?", "é"};

TEST(Bpe, MergesInOrderOfRankThenFromTheLeft) {
  Model model = make(kLetters, {{"b", "c"}, {"a", "b"}, {"a", "a"}, {"a", "bc"}});
  EXPECT_THAT(model.encode("abc"), ElementsAre("abc"));
  EXPECT_THAT(model.encode("aaa"), ElementsAre("aa", "a"));
  EXPECT_THAT(model.encode("abab"), ElementsAre("ab", "ab"));
  EXPECT_THAT(model.encode("axb"), ElementsAre("ab"));  // no unk_token: unknown characters vanish
  EXPECT_THAT(model.encode("aéc"), ElementsAre("a", "é", "c"));
  EXPECT_THAT(model.encode("xyz"), ElementsAre());
}

TEST(Bpe, UnknownCharacters) {
  Model single = make(kLetters, {{"a", "b"}}, {.unk_token = "?"});
  EXPECT_THAT(single.encode("axyb"), ElementsAre("a", "?", "?", "b"));
  Model fused = make(kLetters, {{"a", "b"}}, {.unk_token = "?", .fuse_unk = true});
  EXPECT_THAT(fused.encode("axyb日"), ElementsAre("a", "?", "b", "?"));
  EXPECT_THROW(make(kLetters, {}, {.unk_token = "<unk>"}), Error);
  EXPECT_THROW(make(kLetters, {}, {.end_of_word_suffix = std::string(1000, 'x')}), Error);
}

TEST(Bpe, BytesOfUnknownCharacters) {
  Model model = make({"a", "?", "<0xC3>", "<0xA9>"}, {}, {.unk_token = "?", .byte_fallback = true});
  EXPECT_THAT(model.encode("aé"), ElementsAre("a", "<0xC3>", "<0xA9>"));
  EXPECT_THAT(model.encode("aè"), ElementsAre("a", "?"));  // one byte of it has no piece
}

TEST(Bpe, IgnoreMerges) {
  Model model = make(kLetters, {{"b", "c"}}, {.ignore_merges = true});
  EXPECT_THAT(model.encode("abc"), ElementsAre("abc"));
  EXPECT_THAT(model.encode("abca"), ElementsAre("a", "bc", "a"));
}

TEST(Bpe, PrefixAndSuffix) {
  Model suffix = make({"a", "b", "a</w>", "b</w>", "ab</w>"}, {{"a", "b</w>"}}, {.end_of_word_suffix = "</w>"});
  EXPECT_THAT(suffix.encode("aab"), ElementsAre("a", "ab</w>"));
  EXPECT_THAT(suffix.encode("a"), ElementsAre("a</w>"));
  Model prefix = make({"a", "##a", "##b", "ab"}, {{"a", "##b"}}, {.continuing_subword_prefix = "##"});
  EXPECT_THAT(prefix.encode("aba"), ElementsAre("ab", "##a"));
}

TEST(Bpe, SpellsBytes) {
  Model model = make({"Ġ", "a", "Ġa", "Ã", "©", "Ã©"}, {{"Ġ", "a"}, {"Ã", "©"}}, {.spell_bytes = true});
  EXPECT_THAT(model.encode(" aé"), ElementsAre("Ġa", "Ã©"));
}

TEST(Bpe, OfTwoRulesForAPairTheLastCounts) {
  Model model = make(kLetters, {{"a", "b"}, {"b", "c"}, {"a", "b"}});
  EXPECT_THAT(model.encode("abc"), ElementsAre("a", "bc"));
}

TEST(Bpe, MergesMustNameKnownPieces) {
  const auto message = [](const std::vector<MergePair>& merges) -> std::string {
    try {
      make(kLetters, merges);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message({{"a", "b"}, {"a", "x"}}), HasSubstr("merge 1 (\"a\" and \"x\") needs the piece \"x\""));
  EXPECT_THAT(message({{"x", "b"}}), HasSubstr("needs the piece \"x\""));
  EXPECT_THAT(message({{"c", "c"}}), HasSubstr("needs the piece \"cc\""));
  EXPECT_THROW(split_merge("ab", 0, "test"), Error);
  EXPECT_THROW(split_merge("a b c", 0, "test"), Error);
  EXPECT_EQ(split_merge("a b", 0, "test").right, "b");
}

// The definition: join the leftmost pair of the lowest rank until there is none.
std::vector<std::string> plain_bpe(const std::string& word, const std::vector<MergePair>& merges) {
  std::vector<std::string> pieces;
  for (size_t i = 0; i < word.size(); i += utf8_length(word[i])) pieces.push_back(word.substr(i, utf8_length(word[i])));
  for (;;) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      for (size_t rank = 0; rank < best; ++rank) {
        if (merges[rank].left == pieces[i] && merges[rank].right == pieces[i + 1]) best = rank, place = i;
      }
    }
    if (best == merges.size()) return pieces;
    pieces[place] += pieces[place + 1];
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

class Random {
 public:
  uint32_t operator()(uint32_t bound) { return (state_ = state_ * 1664525 + 1013904223) / 65536 % bound; }

 private:
  uint32_t state_ = 7;
};

struct RandomBpe {
  std::vector<std::string> pieces = {"a", "b", "c", "▁", "é"};
  std::vector<MergePair> merges;
};

// Merges in random order, so that a merge may come before the ones that make its halves.
RandomBpe random_bpe(Random& random, size_t merges) {
  RandomBpe made;
  while (made.merges.size() < merges) {
    const std::string left = made.pieces[random(static_cast<uint32_t>(made.pieces.size()))];
    const std::string right = made.pieces[random(static_cast<uint32_t>(made.pieces.size()))];
    if (left.size() + right.size() > 12) continue;
    if (std::find(made.pieces.begin(), made.pieces.end(), left + right) != made.pieces.end()) continue;
    made.pieces.push_back(left + right);
    made.merges.push_back({left, right});
  }
  for (size_t i = made.merges.size(); i > 1; --i) {
    std::swap(made.merges[i - 1], made.merges[random(static_cast<uint32_t>(i))]);
  }
  return made;
}

TEST(Bpe, EqualsThePlainDefinition) {
  Random random;
  for (int round = 0; round < 60; ++round) {
    const RandomBpe made = random_bpe(random, 2 + random(12));
    Model model = make(made.pieces, made.merges);
    for (int i = 0; i < 20; ++i) {
      std::string word;
      const uint32_t length = 1 + random(60);  // longer than the cache takes, so that words are cut
      for (uint32_t k = 0; k < length; ++k) word += made.pieces[random(5)];
      const auto expected = plain_bpe(word, made.merges);
      EXPECT_EQ(model.encode(word), expected) << word;
      EXPECT_EQ(model.encode(word), expected) << "from the cache: " << word;
    }
  }
}

TEST(MergeQueue, BucketsGiveTheOrderOfTheHeap) {
  Random random;
  for (int round = 0; round < 50; ++round) {
    HeapMergeQueue heap;
    BucketMergeQueue buckets(9);
    for (int step = 0; step < 400; ++step) {
      if (random(3) > 0) {
        const MergeCandidate candidate = {random(10), random(50)};
        heap.push(candidate);
        buckets.push(candidate);
      } else if (!heap.empty()) {
        ASSERT_EQ(buckets.pop(), heap.pop());
      }
    }
    while (!heap.empty()) {
      ASSERT_FALSE(buckets.empty());
      ASSERT_EQ(buckets.pop(), heap.pop());
    }
    EXPECT_TRUE(buckets.empty());
  }
}

// A word too long for the heap goes through the buckets; its middle must come out as in short words.
TEST(Bpe, AWordOfAMillionCharacters) {
  Model model = make(kLetters, {{"b", "c"}, {"a", "bc"}, {"a", "a"}});
  std::string word;
  for (int i = 0; i < 333'333; ++i) word += "abc";
  EXPECT_EQ(model.encode(word), std::vector<std::string>(333'333, "abc"));
  EXPECT_EQ(model.encode(std::string(1'000'001, 'a')).size(), 500'001u);
}

TEST(SpmMerges, HighestScoreThenLeftmost) {
  const auto vocabulary = std::make_shared<Vocabulary>(6, "test");
  const std::vector<std::string> pieces = {"a", "b", "c", "ab", "bc", "abc", "<s>"};
  for (size_t i = 0; i < pieces.size(); ++i) vocabulary->add(pieces[i], static_cast<int64_t>(i));
  const auto encode = [&](std::vector<double> scores, std::string_view word, bool abc = true) {
    std::vector<bool> joins(pieces.size(), true);
    joins[5] = abc;
    Model model;
    model.vocabulary = vocabulary;
    model.bpe =
        std::make_unique<Bpe>(vocabulary, rules_of_scores(*vocabulary, scores, joins, "test"), BpeOptions{}, "test");
    return model.encode(word);
  };
  EXPECT_THAT(encode({0, 0, 0, -1, -2, -3, 0}, "abc"), ElementsAre("abc"));
  EXPECT_THAT(encode({0, 0, 0, -1, -2, -3, 0}, "abc", false), ElementsAre("ab", "c"));
  EXPECT_THAT(encode({0, 0, 0, -2, -1, -3, 0}, "abc", false), ElementsAre("a", "bc"));
  EXPECT_THAT(encode({0, 0, 0, -1, -1, -3, 0}, "abc", false), ElementsAre("ab", "c"));
  EXPECT_THROW(encode({0, 0, std::nan(""), 0, 0, 0, 0}, "abc"), Error);
}

TEST(Vocabulary, RefusesBadIds) {
  Vocabulary vocabulary(3, "test");
  vocabulary.add("a", 5);
  EXPECT_EQ(vocabulary.size(), 6);
  EXPECT_EQ(vocabulary.find("a"), 5);
  EXPECT_EQ(vocabulary.find("b"), -1);
  EXPECT_EQ(*vocabulary.piece(5), "a");
  EXPECT_EQ(vocabulary.piece(4), nullptr);
  EXPECT_EQ(vocabulary.piece(-1), nullptr);
  EXPECT_EQ(vocabulary.piece(int64_t{1} << 40), nullptr);
  EXPECT_THROW(vocabulary.add("b", -1), Error);
  EXPECT_THROW(vocabulary.add("b", 5), Error);
  EXPECT_THROW(vocabulary.add("b", int64_t{1} << 40), Error);
  EXPECT_THROW(vocabulary.add("b", int64_t{1} << 31), Error);
  EXPECT_THROW(vocabulary.add("a", 1), Error);
}

}  // namespace
}  // namespace spikescope
