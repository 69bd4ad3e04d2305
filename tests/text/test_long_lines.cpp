// Lines without spaces take time that is linear in their length, whatever the kind of tokenizer.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <random>

#include "base/utf8.h"
#include "charsmap_builder.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

// Letters, runs of a up to 16, and all pairs of the first letters.
std::vector<std::string> pieces() {
  std::vector<std::string> made;
  for (char letter = 'a'; letter <= 'z'; ++letter) made.emplace_back(1, letter);
  for (size_t run = 2; run <= 16; run *= 2) made.emplace_back(run, 'a');
  for (char first = 'b'; first <= 'm'; ++first) {
    for (char second = 'b'; second <= 'm'; ++second) made.push_back({first, second});
  }
  return made;
}

Json with_model(Json model) { return {{"model", std::move(model)}}; }

Json bpe() {
  Json vocab = {{"<unk>", 0}}, merges = Json::array();
  for (const std::string& piece : pieces()) {
    vocab[piece] = vocab.size();
    const size_t half = piece.size() / 2;
    if (half > 0) merges.push_back(Json::array({piece.substr(0, half), piece.substr(half)}));
  }
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = vocab.size();
  return with_model({{"type", "BPE"},
                     {"unk_token", "<unk>"},
                     {"fuse_unk", true},
                     {"byte_fallback", true},
                     {"vocab", vocab},
                     {"merges", merges}});
}

Json word_piece() {
  Json vocab = {{"[UNK]", 0}};
  for (const std::string& piece : pieces()) {
    vocab[piece] = vocab.size();
    vocab["##" + piece] = vocab.size();
  }
  Json json = with_model({{"type", "WordPiece"}, {"max_input_chars_per_word", INT64_MAX}, {"vocab", vocab}});
  json["normalizer"] = {{"type", "BertNormalizer"}};
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  return json;
}

Json unigram() {
  Json vocab = Json::array();
  vocab.push_back(Json::array({"<unk>", 0.0}));
  for (const std::string& piece : pieces()) vocab.push_back(Json::array({piece, -static_cast<double>(vocab.size())}));
  Json json = with_model({{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}});
  json["normalizer"] = {
      {"type", "Precompiled"},
      {"precompiled_charsmap", testing::base64(testing::charsmap_bytes({{"ﬁ", "fi"}, {"e\u0301", "é"}}))}};
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}};
  return json;
}

// ByteLevel's words, as GPT-2's, and Llama 3's expression.
Json byte_level(const Json& pre_tokenizer) {
  Json json = bpe();
  json["model"]["ignore_merges"] = true;
  json["pre_tokenizer"] = pre_tokenizer;
  return json;
}

struct Kind {
  const char* name;
  Json json;
};
std::vector<Kind> kinds() {
  const Json words = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  const Json split = {{"type", "Split"},
                      {"behavior", "Isolated"},
                      {"pattern", {{"Regex", R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+)"}}}};
  return {{"BPE", bpe()},
          {"byte-level BPE", byte_level(words)},
          {"BPE with a Split", byte_level(split)},
          {"WordPiece", word_piece()},
          {"Unigram", unigram()}};
}

using Line = std::function<std::string(size_t bytes)>;
std::string letters(size_t bytes) {
  std::mt19937 random(9);
  std::string line;
  while (line.size() < bytes) line += static_cast<char>('a' + random() % 26);
  return line;
}
std::string chinese(size_t bytes) {
  std::mt19937 random(9);
  std::string line;
  while (line.size() < bytes) append_utf8(line, static_cast<char32_t>(0x4e00 + random() % 5000));
  return line;
}

/// Of the processor: what else runs on the machine does not count.
double seconds(const std::function<void()>& work) {
  double least = 1e9;
  for (int i = 0; i < 3; ++i) {
    const std::clock_t begin = std::clock();
    work();
    least = std::min(least, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return least;
}

TEST(LongLines, TakeLinearTime) {
  const std::pair<const char*, Line> lines[] = {
      {"one letter", [](size_t bytes) { return std::string(bytes, 'a'); }}, {"letters", letters}, {"Chinese", chinese}};
  constexpr size_t kBytes = 400'000, kFactor = 8;
  for (const Kind& kind : kinds()) {
    const Tokenizer tokenizer = Tokenizer::from_json(kind.json, Json(), kind.name);
    for (const auto& [name, line] : lines) {
      const std::string text = line(kBytes), part = line(kBytes / kFactor);
      const double whole = seconds([&] { tokenizer.encode(text); });
      const double eighth = seconds([&] { tokenizer.encode(part); });
      EXPECT_LT(whole, 2.0) << kind.name << ", " << name;
      // Linear is 8, quadratic is 64; the rest is room for caches, and for others who use them.
      EXPECT_LT(whole, eighth * kFactor * 4 + 0.01) << kind.name << ", " << name;
    }
  }
}

// Tokens of white space that take white space along, in nothing else.
TEST(LongLines, AddedTokensOfWhiteSpace) {
  Json json = bpe();
  const std::string text(400'000, ' ');
  for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
    json["added_tokens"] = {{{"id", 1000}, {"content", " "}, {flag, true}}};
    const Tokenizer tokenizer = Tokenizer::from_json(json, Json(), "test");
    EXPECT_LT(seconds([&] { tokenizer.encode(text); }), 2.0) << flag;
  }
}

}  // namespace
}  // namespace spikescope
