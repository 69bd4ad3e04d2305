// Tokenizers from GGUF metadata made in code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "charsmap_builder.h"
#include "error_of.h"
#include "text/byte_level.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Control tokens 0 and 1, then the 256 bytes from id 2 on, then merges.
Json byte_level(const std::string& pre) {
  Json tokens = {"<s>", "</s>"}, types = {3, 3};
  for (const std::string& character : byte_level_characters()) {
    tokens.push_back(character);
    types.push_back(1);
  }
  for (const char* piece : {"Ġa", "12", "123"}) {
    tokens.push_back(piece);
    types.push_back(1);
  }
  Json metadata;
  metadata["tokenizer.ggml.model"] = "gpt2";
  metadata["tokenizer.ggml.pre"] = pre;
  metadata["tokenizer.ggml.tokens"] = tokens;
  metadata["tokenizer.ggml.token_type"] = types;
  metadata["tokenizer.ggml.merges"] = {"Ġ a", "1 2"};
  metadata["tokenizer.ggml.bos_token_id"] = 0;
  metadata["tokenizer.ggml.eos_token_id"] = 1;
  return metadata;
}
int64_t id_of(char byte) { return 2 + static_cast<unsigned char>(byte); }
constexpr int64_t kSpaceA = 258, kOneTwo = 259, kOneTwoThree = 260;

// "▁a" by way of "▁" + "a"; bytes for A and é.
Json sentence_piece() {
  Json metadata;
  metadata["tokenizer.ggml.model"] = "llama";
  metadata["tokenizer.ggml.tokens"] = {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁",
                                       "a",     "b",   "▁a",   "ab",     "<user>", "<0x41>"};
  metadata["tokenizer.ggml.token_type"] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4, 6};
  metadata["tokenizer.ggml.scores"] = {0, 0, 0, 0, 0, -5, -6, -7, -2, -1, 0, 0};
  return metadata;
}

Tokenizer make(const Json& metadata) { return Tokenizer::from_gguf(metadata, "m.gguf"); }

TEST(TokenizerGguf, ByteLevel) {
  const Tokenizer tokenizer = make(byte_level("gpt-2"));
  EXPECT_THAT(tokenizer.encode("b a</s>"), ElementsAre(id_of('b'), kSpaceA, 1));
  EXPECT_THAT(tokenizer.encode("123"), ElementsAre(kOneTwo, id_of('3')));
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{0, kSpaceA, id_of('\xc3'), id_of('\xa9'), id_of('\xc3')}),
            "<s> aé\ufffd");
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{0, kSpaceA}, true), " a");
  EXPECT_EQ(tokenizer.piece(kSpaceA), "Ġa");
  EXPECT_EQ(tokenizer.bos(), 0);
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.size(), 261);
}

TEST(TokenizerGguf, ThePreTokenizersNameDecides) {
  EXPECT_THAT(make(byte_level("smollm")).encode("12"), ElementsAre(id_of('1'), id_of('2')));
  EXPECT_THAT(make(byte_level("llama-bpe")).encode("123", false),
              ElementsAre(kOneTwoThree));  // a piece that no merge makes
  EXPECT_THAT(make(byte_level("llama-bpe")).encode("1234", false), ElementsAre(kOneTwoThree, id_of('4')));
  EXPECT_THAT(make(byte_level("llama-bpe")).encode("1"), ElementsAre(0, id_of('1')));
  EXPECT_THAT(make(byte_level("qwen2")).encode("12"), ElementsAre(id_of('1'), id_of('2')));
  EXPECT_EQ(make(byte_level("qwen2")).encode("e\u0301"), make(byte_level("qwen2")).encode("é"));
  Json old = byte_level("gpt-2");
  old.erase("tokenizer.ggml.pre");
  EXPECT_EQ(make(old).encode("a, 123"), make(byte_level("default")).encode("a, 123"));
}

// Every row of the table must make a tokenizer that gives back what it was given.
TEST(TokenizerGguf, EveryKnownPreTokenizerWorks) {
  const std::string text = "Hello  WORLD's naïve 日本語 12345, ($5.00)!\r\n\n\tx_y `z`";
  for (const char* name : {"gpt-2",        "phi-2",          "mpt",    "smollm",   "starcoder",
                           "command-r",    "llama-bpe",      "llama3", "llama-v3", "smaug-bpe",
                           "dbrx",         "chatglm-bpe",    "glm4",   "qwen2",    "deepseek-r1-qwen",
                           "qwen35",       "gpt-4o",         "llama4", "tekken",   "deepseek-v3",
                           "deepseek-llm", "deepseek-coder", "bloom",  "falcon",   "default"}) {
    const Tokenizer tokenizer = make(byte_level(name));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text) << name;
  }
}

TEST(TokenizerGguf, DeepSeek) {
  const std::vector<int64_t> a = {kSpaceA};
  EXPECT_EQ(make(byte_level("deepseek-llm")).encode(" a", false), a);
  EXPECT_EQ(make(byte_level("deepseek-llm")).encode("1 a12", false).size(), 4u);  // each digit alone
  EXPECT_EQ(make(byte_level("deepseek-llm")).encode("12", false), (std::vector<int64_t>{id_of('1'), id_of('2')}));
  EXPECT_EQ(make(byte_level("deepseek-coder")).encode("\n a", false), (std::vector<int64_t>{id_of('\n'), kSpaceA}));
  EXPECT_EQ(make(byte_level("deepseek-v3")).encode("12", false), (std::vector<int64_t>{kOneTwo}));
}

TEST(TokenizerGguf, AddsBosAndEosAsTheFileSays) {
  Json metadata = byte_level("gpt-2");
  metadata["tokenizer.ggml.add_bos_token"] = true;
  metadata["tokenizer.ggml.add_eos_token"] = true;
  EXPECT_THAT(make(metadata).encode("b"), ElementsAre(0, id_of('b'), 1));
  EXPECT_THAT(make(metadata).encode("b", false), ElementsAre(id_of('b')));
  EXPECT_TRUE(make(metadata).adds_bos());
  metadata = byte_level("llama3");
  metadata["tokenizer.ggml.add_bos_token"] = false;
  EXPECT_THAT(make(metadata).encode("b"), ElementsAre(id_of('b')));
}

TEST(TokenizerGguf, SentencePiece) {
  const Tokenizer tokenizer = make(sentence_piece());
  EXPECT_THAT(tokenizer.encode("a"), ElementsAre(1, 8));
  EXPECT_THAT(tokenizer.encode("ab", false),
              ElementsAre(5, 9));  // the higher score wins, though it stands to the right
  EXPECT_THAT(tokenizer.encode("é A", false), ElementsAre(5, 3, 4, 5, 11));
  EXPECT_THAT(tokenizer.encode("zz", false), ElementsAre(5, 0));
  EXPECT_THAT(tokenizer.encode("a<user>b</s>", false), ElementsAre(8, 10, 5, 7, 2));
  EXPECT_THAT(tokenizer.encode("", true), ElementsAre(1));
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{1, 8, 3, 4, 5, 10}, true), "aé <user>");
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{8, 3, 8}), "a\ufffd a");
  EXPECT_TRUE(tokenizer.adds_bos());
  Json metadata = sentence_piece();
  metadata["tokenizer.ggml.add_space_prefix"] = false;
  metadata["tokenizer.ggml.add_bos_token"] = false;
  EXPECT_THAT(make(metadata).encode("a a"), ElementsAre(6, 8));
  EXPECT_EQ(make(metadata).decode(std::vector<int64_t>{8}), " a");
}

Json unigram() {
  Json metadata;
  metadata["tokenizer.ggml.model"] = "t5";
  metadata["tokenizer.ggml.tokens"] = {"<pad>", "</s>", "<unk>", "▁", "a", "▁a", "b", "<extra_id_0>"};
  metadata["tokenizer.ggml.token_type"] = {3, 3, 2, 1, 1, 1, 1, 4};
  metadata["tokenizer.ggml.scores"] = {0, 0, 0, -2, -3.5, -4, -5, 0};
  metadata["tokenizer.ggml.eos_token_id"] = 1;
  return metadata;
}

TEST(TokenizerGguf, Unigram) {
  Json metadata = unigram();
  EXPECT_THAT(make(metadata).encode("  ab   a<extra_id_0>b c "), ElementsAre(5, 6, 5, 7, 3, 6, 3, 2, 1));
  EXPECT_EQ(make(metadata).decode(std::vector<int64_t>{5, 6, 7, 5, 1}, true), "ab<extra_id_0> a");
  metadata["tokenizer.ggml.add_space_prefix"] = false;
  metadata["tokenizer.ggml.remove_extra_whitespaces"] = false;
  metadata["tokenizer.ggml.add_eos_token"] = false;
  EXPECT_THAT(make(metadata).encode("a  a"), ElementsAre(4, 3, 5));
  Json bytes = Json::array();
  for (const char byte : testing::charsmap_bytes({{"é", "a"}})) bytes.push_back(static_cast<uint8_t>(byte));
  metadata["tokenizer.ggml.precompiled_charsmap"] = bytes;
  EXPECT_THAT(make(metadata).encode("éb"), ElementsAre(4, 6));
  for (Json& byte : bytes) byte = static_cast<int8_t>(byte.get<int>());
  metadata["tokenizer.ggml.precompiled_charsmap"] = bytes;
  EXPECT_THAT(make(metadata).encode("éb"), ElementsAre(4, 6));
}

Json word_piece() {
  Json metadata;
  metadata["tokenizer.ggml.model"] = "bert";
  metadata["tokenizer.ggml.tokens"] = {"[UNK]", "[CLS]", "[SEP]", "▁cafe", "s", "▁!", "▁[", "[x]"};
  metadata["tokenizer.ggml.token_type"] = {3, 3, 3, 1, 1, 1, 1, 1};
  return metadata;
}

TEST(TokenizerGguf, WordPiece) {
  Json metadata = word_piece();
  EXPECT_THAT(make(metadata).encode("Cafés! [x [SEP]"), ElementsAre(1, 3, 4, 5, 6, 0, 2, 2));
  EXPECT_EQ(make(metadata).decode(std::vector<int64_t>{1, 3, 4, 5, 2}, true), "cafes!");
  EXPECT_EQ(make(metadata).piece(4), "##s");
  metadata["tokenizer.ggml.tokens"][7] = "▁Caf";  // a cased model's
  EXPECT_THAT(make(metadata).encode("Caf cafes", false), ElementsAre(7, 3, 4));
  metadata["tokenizer.ggml.bos_token_id"] = 3;
  metadata["tokenizer.ggml.seperator_token_id"] = 5;
  EXPECT_THAT(make(metadata).encode("x"), ElementsAre(3, 0, 5));
}

TEST(TokenizerGguf, RefusesUnigramAndWordPiece) {
  const auto refusal = [](Json metadata, const char* key, const Json& value) {
    metadata[std::string("tokenizer.ggml.") + key] = value;
    return testing::error_of([&] { make(metadata); });
  };
  EXPECT_THAT(refusal(unigram(), "scores", Json::array({0})), HasSubstr("scores: has 1 values for 8 pieces"));
  Json scores = unigram()["tokenizer.ggml.scores"];
  scores[3] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(refusal(unigram(), "scores", scores), HasSubstr("m.gguf: tokenizer.ggml.scores: the score of piece 3"));
  EXPECT_THAT(refusal(unigram(), "unknown_token_id", 8), HasSubstr("unknown_token_id: is 8, expected an id"));
  EXPECT_THAT(refusal(unigram(), "precompiled_charsmap", {1, 256}), HasSubstr("charsmap: value 1 is no byte"));
  EXPECT_THAT(refusal(unigram(), "precompiled_charsmap", {1, 2}), HasSubstr("charsmap: precompiled_charsmap has 2"));
  EXPECT_THAT(refusal(unigram(), "precompiled_charsmap", 7), HasSubstr("expected an array"));
  EXPECT_THAT(refusal(word_piece(), "unknown_token_id", -1), HasSubstr("unknown_token_id: is -1"));
  EXPECT_THAT(refusal(word_piece(), "seperator_token_id", 99), HasSubstr("seperator_token_id: is 99"));
  Json tokens = word_piece()["tokenizer.ggml.tokens"];
  tokens[0] = "[NO]";
  EXPECT_THAT(refusal(word_piece(), "tokens", tokens),
              HasSubstr("m.gguf: tokenizer.ggml.tokens: unk_token \"[UNK]\" is not in the vocabulary"));
}

// Gemma's files spell user-defined pieces of spaces with real spaces, and others of them with marks.
TEST(TokenizerGguf, SentencePieceUserDefinedSpaces) {
  for (const char* spaces : {"  ", "▁▁"}) {
    Json metadata = sentence_piece();
    metadata["tokenizer.ggml.tokens"][10] = spaces;
    metadata["tokenizer.ggml.add_space_prefix"] = false;
    const Tokenizer tokenizer = make(metadata);
    for (const char* text : {"a  b", "a▁▁b", "a ▁b"}) {
      EXPECT_THAT(tokenizer.encode(text, false), ElementsAre(6, 10, 7)) << spaces << " in " << text;
    }
    EXPECT_THAT(tokenizer.encode("a   b", false), ElementsAre(6, 10, 5, 7)) << spaces;
  }
}

TEST(TokenizerGguf, Refuses) {
  struct Case {
    const char* name;
    bool spm;
    std::function<void(Json&)> damage;
    const char* message;
  };
  const std::string bad_utf8 = "a\xff";
  const Case cases[] = {
      {"no tokenizer", false, [](Json& j) { j = Json::object(); },
       "m.gguf: has no tokenizer (tokenizer.ggml.model is missing"},
      {"none", false, [](Json& j) { j["tokenizer.ggml.model"] = "none"; }, "m.gguf: has no tokenizer"},
      {"other model", false, [](Json& j) { j["tokenizer.ggml.model"] = "rwkv"; },
       "tokenizer.ggml.model \"rwkv\" is not supported (supported: gpt2, llama, t5, bert)"},
      {"model no string", false, [](Json& j) { j["tokenizer.ggml.model"] = 7; },
       "\"tokenizer.ggml.model\" should be a string"},
      {"other pre-tokenizer", false, [](Json& j) { j["tokenizer.ggml.pre"] = "moon"; },
       "m.gguf: tokenizer.ggml.pre: the pre-tokenizer \"moon\" is not known (known: gpt-2"},
      {"part of a name", false, [](Json& j) { j["tokenizer.ggml.pre"] = "llama"; },
       "the pre-tokenizer \"llama\" is not known"},
      {"no tokens", false, [](Json& j) { j.erase("tokenizer.ggml.tokens"); },
       "expected an array under \"tokenizer.ggml.tokens\""},
      {"empty tokens", false, [](Json& j) { j["tokenizer.ggml.tokens"] = Json::array(); }, "the vocabulary is empty"},
      {"token no string", false, [](Json& j) { j["tokenizer.ggml.tokens"][4] = 4; },
       "m.gguf: tokenizer.ggml.tokens: piece 4 is no string"},
      {"token not UTF-8", false, [&](Json& j) { j["tokenizer.ggml.tokens"][4] = bad_utf8; },
       "piece 4 (\"a\\xff\") is not valid UTF-8"},
      {"token twice", false, [](Json& j) { j["tokenizer.ggml.tokens"][5] = "<s>"; },
       "the piece \"<s>\" has two ids, 0 and 5"},
      {"types too short", false, [](Json& j) { j["tokenizer.ggml.token_type"].erase(0); },
       "tokenizer.ggml.token_type: has 260 values for 261 pieces"},
      {"type out of range", false, [](Json& j) { j["tokenizer.ggml.token_type"][3] = 9; },
       "tokenizer.ggml.token_type: value 3 is 9, expected 0 to 6"},
      {"type no integer", false, [](Json& j) { j["tokenizer.ggml.token_type"][3] = "x"; },
       "tokenizer.ggml.token_type: value 3 is no integer"},
      {"endless control token", false, [](Json& j) { j["tokenizer.ggml.tokens"][0] = std::string(5000, 'b'); },
       "has 5000 bytes, expected at most 1024"},
      {"no merges", false, [](Json& j) { j.erase("tokenizer.ggml.merges"); },
       "expected an array under \"tokenizer.ggml.merges\""},
      {"merge no string", false, [](Json& j) { j["tokenizer.ggml.merges"][1] = 4; },
       "m.gguf: tokenizer.ggml.merges: merge 1 is no string"},
      {"merge without space", false, [](Json& j) { j["tokenizer.ggml.merges"][1] = "12"; },
       "merge 1 is \"12\", expected two pieces"},
      {"merge of unknown pieces", false, [](Json& j) { j["tokenizer.ggml.merges"][1] = "1 4"; },
       "needs the piece \"14\", which is not in the vocabulary"},
      {"BOS out of range", false, [](Json& j) { j["tokenizer.ggml.bos_token_id"] = 261; },
       "tokenizer.ggml.bos_token_id: is 261, expected an id from 0 to 260"},
      {"BOS huge", false, [](Json& j) { j["tokenizer.ggml.bos_token_id"] = UINT64_MAX; },
       "\"tokenizer.ggml.bos_token_id\" should be an integer"},
      {"EOS negative", false, [](Json& j) { j["tokenizer.ggml.eos_token_id"] = -1; },
       "tokenizer.ggml.eos_token_id: is -1"},
      {"BOS wanted but unknown", false,
       [](Json& j) {
         j.erase("tokenizer.ggml.bos_token_id");
         j["tokenizer.ggml.add_bos_token"] = true;
       },
       "tokenizer.ggml.add_bos_token: is true, but tokenizer.ggml.bos_token_id is missing"},
      {"flag no flag", false, [](Json& j) { j["tokenizer.ggml.add_bos_token"] = "yes"; }, "should be true or false"},
      {"no scores", true, [](Json& j) { j.erase("tokenizer.ggml.scores"); },
       "expected an array under \"tokenizer.ggml.scores\""},
      {"scores too long", true, [](Json& j) { j["tokenizer.ggml.scores"].push_back(1); },
       "tokenizer.ggml.scores: has 13 values for 12 pieces"},
      {"score no number", true, [](Json& j) { j["tokenizer.ggml.scores"][2] = "x"; },
       "tokenizer.ggml.scores: value 2 is no number"},
      {"score NaN", true, [](Json& j) { j["tokenizer.ggml.scores"][2] = std::numeric_limits<double>::quiet_NaN(); },
       "the score of piece 2 is not a number"},
      {"endless piece", true, [](Json& j) { j["tokenizer.ggml.tokens"][7] = std::string(5000, 'b'); },
       "has 5000 bytes, expected at most 1024"},
      {"unknown out of range", true, [](Json& j) { j["tokenizer.ggml.unknown_token_id"] = 12; },
       "tokenizer.ggml.unknown_token_id: is 12"},
  };
  for (const Case& row : cases) {
    Json metadata = row.spm ? sentence_piece() : byte_level("gpt-2");
    row.damage(metadata);
    try {
      make(metadata);
      ADD_FAILURE() << "accepted: " << row.name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(row.message)) << row.name;
      EXPECT_THAT(error.what(), HasSubstr("m.gguf")) << row.name;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace spikescope
