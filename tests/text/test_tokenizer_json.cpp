// Whole tokenizers made in code, in the form of tokenizer.json. Expected ids come from `tokenizers` 0.23.3.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <thread>

#include "base/error.h"
#include "error_of.h"
#include "fixtures.h"
#include "io/output_file.h"
#include "small_tokenizers.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Characters a to z, space and U+2581 from id 1 on (? is 0), the merges ab and abc, and the special tokens <s> and
// </s>.
Json small() {
  return parse_json(R"({
    "added_tokens": [
      {"id": 31, "content": "<s>", "special": true, "normalized": false},
      {"id": 32, "content": "</s>", "special": true, "normalized": false}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "unk_token": "?", "vocab": {
      "?": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9, "j": 10, "k": 11, "l": 12, "m": 13,
      "n": 14, "o": 15, "p": 16, "q": 17, "r": 18, "s": 19, "t": 20, "u": 21, "v": 22, "w": 23, "x": 24, "y": 25, "z": 26,
      " ": 27, "▁": 28, "ab": 29, "abc": 30}, "merges": ["a b", ["ab", "c"]]}})",
                    "small");
}

Tokenizer make(const Json& json, const Json& config = Json()) { return Tokenizer::from_json(json, config, "t.json"); }

Json added(int64_t id, const std::string& content, std::vector<std::string> flags) {
  Json token = {{"id", id}, {"content", content}};
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) token[flag] = false;
  for (const std::string& flag : flags) token[flag] = true;
  return token;
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "accepted";
}

TEST(TokenizerJson, EncodesAndDecodes) {
  const Tokenizer tokenizer = make(small());
  EXPECT_THAT(tokenizer.encode("abcab x"), ElementsAre(30, 29, 27, 24));
  EXPECT_THAT(tokenizer.encode("a<s>b</s>"), ElementsAre(1, 31, 2, 32));
  EXPECT_THAT(tokenizer.encode(""), ElementsAre());
  EXPECT_THAT(tokenizer.encode("éé"), ElementsAre(0, 0));
  const std::vector<int64_t> ids = {31, 30, 27, 32};
  EXPECT_EQ(tokenizer.decode(ids), "<s>abc </s>");
  EXPECT_EQ(tokenizer.decode(ids, true), "abc ");
  EXPECT_EQ(tokenizer.decode({}), "");
  EXPECT_EQ(tokenizer.piece(30), "abc");
  EXPECT_EQ(tokenizer.piece(31), "<s>");
  EXPECT_EQ(tokenizer.size(), 33);
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.description(), "BPE, 2 merges, 33 ids, 2 special tokens, no BOS");
}

TEST(TokenizerJson, WithoutDecoderPiecesAreSetApart) {
  Json json = small();
  json.erase("decoder");
  EXPECT_EQ(make(json).decode(std::vector<int64_t>{1, 2}), "a b");
}

TEST(TokenizerJson, RefusesBadTextsAndIds) {
  const Tokenizer tokenizer = make(small());
  EXPECT_EQ(refusal([&] {
              tokenizer.encode(
                  "ab\xff"
                  "c");
            }),
            "the text is not valid UTF-8 at byte 2 (0xff); convert it to UTF-8");
  for (const int64_t id : {int64_t{-1}, int64_t{33}, int64_t{1} << 40}) {
    EXPECT_THAT(refusal([&] { tokenizer.piece(id); }),
                HasSubstr("is not in the tokenizer's vocabulary, which has ids from 0 to 32"));
    EXPECT_THROW(tokenizer.decode(std::vector<int64_t>{1, id}), Error);
  }
}

TEST(TokenizerJson, AddedTokens) {
  struct Case {
    std::vector<std::string> flags;
    const char* text;
    std::vector<int64_t> ids;
  };
  const Case cases[] = {
      {{}, "xfoo foobar", {24, 33, 27, 33, 2, 1, 18}},
      {{"lstrip"}, "x  foo y", {24, 33, 27, 25}},
      {{"rstrip"}, "x foo \n y", {24, 27, 33, 25}},
      {{"lstrip", "rstrip"}, "x foo y", {24, 33, 25}},
      {{"single_word"}, "xfoo foo foob", {24, 6, 15, 15, 27, 33, 27, 6, 15, 15, 2}},
      {{"single_word"}, "-foo-", {0, 33, 0}},
      {{"normalized"}, "FOO foo", {33, 27, 33}},
  };
  for (const Case& row : cases) {
    Json json = small();
    json["normalizer"] = {{"type", "Lowercase"}};
    json["added_tokens"].push_back(added(33, "foo", row.flags));
    EXPECT_EQ(make(json).encode(row.text), row.ids) << row.text;
  }
  Json json = small();
  json["added_tokens"].push_back(added(33, "foofoo", {}));
  json["added_tokens"].push_back(added(34, "foo", {}));
  EXPECT_THAT(make(json).encode("foofoofoo"), ElementsAre(33, 34));
}

// A token of white space in the white space that the token before it took along.
TEST(TokenizerJson, AddedTokensOfWhiteSpace) {
  Json json = small();
  json["added_tokens"].push_back(added(33, "  ", {"rstrip"}));
  EXPECT_THAT(make(json).encode("a  b    c"), ElementsAre(1, 33, 2, 33, 33, 3));
  json["added_tokens"].back() = added(33, "  ", {"lstrip", "rstrip"});
  EXPECT_THAT(make(json).encode("a  b    c"), ElementsAre(1, 33, 2, 33, 3));
}

TEST(TokenizerJson, NormalizersWorkBetweenTokens) {
  Json json = small();
  json["normalizer"] = parse_json(R"({"type": "Prepend", "prepend": "▁"})", "test");
  EXPECT_THAT(make(json).encode("a<s>b"), ElementsAre(28, 1, 31, 28, 2));
}

TEST(TokenizerJson, MetaspaceFirst) {
  Json json = small();
  json["pre_tokenizer"] =
      parse_json(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true})", "test");
  EXPECT_THAT(make(json).encode("a b<s>c"), ElementsAre(28, 1, 28, 2, 31, 3));
}

TEST(TokenizerJson, BosFromTheTemplate) {
  Json json = small();
  json["post_processor"] = parse_json(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
      "special_tokens": {"<s>": {"ids": [31]}, "</s>": {"ids": [32]}}})",
                                      "test");
  const Tokenizer tokenizer = make(json);
  EXPECT_THAT(tokenizer.encode("a"), ElementsAre(31, 1, 32));
  EXPECT_THAT(tokenizer.encode("a", false), ElementsAre(1));
  EXPECT_EQ(tokenizer.bos(), 31);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.description(), "BPE, 2 merges, 33 ids, 2 special tokens, BOS 31 \"<s>\", added to texts");
}

TEST(TokenizerJson, BosFromTheConfig) {
  const Tokenizer named = make(small(), parse_json(R"({"bos_token": "<s>", "add_bos_token": false})", "test"));
  EXPECT_EQ(named.bos(), 31);
  EXPECT_FALSE(named.adds_bos());
  EXPECT_THAT(named.encode("a"), ElementsAre(1));
  const Tokenizer adds = make(small(), parse_json(R"({"bos_token": {"content": "<s>"}, "add_bos_token": true,
                                                     "eos_token": "</s>", "add_eos_token": true})",
                                                  "test"));
  EXPECT_TRUE(adds.adds_bos());
  EXPECT_THAT(adds.encode("a"), ElementsAre(31, 1, 32));
  EXPECT_EQ(make(small(), parse_json(R"({"bos_token": null})", "test")).bos(), std::nullopt);
  EXPECT_THAT(refusal([] { make(small(), parse_json(R"({"bos_token": "<x>", "add_bos_token": true})", "test")); }),
              HasSubstr("t.json (tokenizer_config.json): add_bos_token is true, but bos_token names no token"));
  EXPECT_THAT(refusal([] { make(small(), Json::array()); }), HasSubstr("expected an object"));
  // A post-processor that adds tokens has the last word.
  Json json = small();
  json["post_processor"] = parse_json(R"({"type": "BertProcessing", "cls": ["<s>", 31], "sep": ["</s>", 32]})", "test");
  EXPECT_THAT(make(json, parse_json(R"({"bos_token": "</s>", "add_bos_token": true})", "test")).encode("a"),
              ElementsAre(31, 1, 32));
}

// Tokens that are looked for in normalized text come back in normalized form, and so are not known as special then.
TEST(TokenizerJson, DecodesAddedTokensInNormalizedForm) {
  Json json = small();
  json["normalizer"] = {{"type", "Prepend"}, {"prepend", "▁"}};
  json["added_tokens"].push_back(added(33, "foo", {"normalized", "special"}));
  const Tokenizer tokenizer = make(json);
  EXPECT_THAT(tokenizer.encode("foo"), ElementsAre(33));
  EXPECT_EQ(tokenizer.piece(33), "▁foo");
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{31, 33}, true), "▁foo");
}

TEST(TokenizerJson, TakesTheVocabularysIdForAnAddedToken) {
  Json json = small();
  json["added_tokens"].push_back(added(77, "z", {}));
  EXPECT_THAT(make(json).encode("az"), ElementsAre(1, 26));
}

TEST(TokenizerJson, OldFilesWithoutModelType) {
  Json json = small();
  json["model"].erase("type");
  EXPECT_THAT(make(json).encode("abc"), ElementsAre(30));
}

// Words of WordPiece as BERT cuts them, and a piece that other models' ByteLevel spells.
TEST(TokenizerJson, WordPiece) {
  Json json = testing::small_word_piece();
  EXPECT_THAT(make(json).encode("Cafés!日x [SEP]"), ElementsAre(1, 3, 4, 5, 6, 0, 2, 2));
  EXPECT_EQ(make(json).decode(std::vector<int64_t>{1, 3, 4, 5, 2}, true), "cafes!");
  json["model"].erase("type");
  EXPECT_THAT(make(json).encode("cafe", false), ElementsAre(3));
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}};
  EXPECT_THAT(make(json).encode("a", false), ElementsAre(7));
}

TEST(TokenizerJson, Unigram) {
  const Tokenizer tokenizer = make(testing::small_unigram());
  EXPECT_THAT(tokenizer.encode("ab\tax b"), ElementsAre(4, 5, 4, 0, 2, 5, 1));
  EXPECT_EQ(tokenizer.decode(std::vector<int64_t>{4, 5, 2, 5, 1}, true), "ab b");
  EXPECT_EQ(tokenizer.description(), "Unigram, 6 pieces, 6 ids, 2 special tokens, no BOS");
}

TEST(TokenizerJson, Precompiled) {
  const Tokenizer tokenizer = make(testing::small_precompiled());
  EXPECT_THAT(tokenizer.encode("xö\tﬁe\u0301e", false), ElementsAre(4, 5, 5, 4, 5, 3, 6));
}

// A file cut short anywhere is refused in one line that names it; cut inside the text of a piece as elsewhere.
TEST(TokenizerJson, CutShort) {
  const testing::TemporaryFolder folder;
  for (const Json& json : {small(), testing::small_word_piece(), testing::small_precompiled()}) {
    const std::string whole = json.dump();
    for (size_t size = 0; size < whole.size(); size += 11) {
      write_file(folder / "tokenizer.json", whole.substr(0, size));
      EXPECT_THAT(refusal([&] { Tokenizer::from_path(folder.path()); }), HasSubstr("tokenizer.json: ")) << size;
    }
  }
}

// Anything in the place of anything else: a tokenizer, or one line that names the file.
TEST(TokenizerJson, WrongTypesEverywhere) {
  const Json others[] = {
      nullptr, true, -1, int64_t{1} << 60, 1e308, "", "a", Json::array(), Json::object(), Json::array({1, "b"})};
  int refused = 0;
  for (const Json& json : {small(), testing::small_word_piece(), testing::small_precompiled()}) {
    std::set<std::string> places;
    const Json flat = json.flatten();
    for (const auto& [path, value] : flat.items()) {
      for (auto place = Json::json_pointer(path); !place.empty(); place.pop_back()) places.insert(place.to_string());
    }
    for (const std::string& place : places) {
      for (const Json& other : others) {
        Json damaged = json;
        damaged[Json::json_pointer(place)] = other;
        const std::string message = testing::error_of([&] {
          const Tokenizer tokenizer = make(damaged);
          tokenizer.decode(tokenizer.encode("abc x\tﬁ日e\u0301 [SEP]"));
        });
        EXPECT_TRUE(message.empty() || message.find("t.json") != message.npos) << place << ": " << message;
        refused += !message.empty();
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(TokenizerJson, RefusesUnigram) {
  struct Case {
    const char* name;
    std::function<void(Json&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {"no vocab", [](Json& j) { j.erase("vocab"); }, "t.json: model: expected an array under \"vocab\""},
      {"vocab is an object",
       [](Json& j) {
         j["vocab"] = {{"a", 1}};
       },
       "expected an array under \"vocab\""},
      {"entry no pair", [](Json& j) { j["vocab"][2] = "a"; }, "t.json: model.vocab[2]: expected [\"piece\", score]"},
      {"score no number", [](Json& j) { j["vocab"][2][1] = "x"; }, "t.json: model.vocab[2]: expected"},
      {"piece no string", [](Json& j) { j["vocab"][2][0] = 4; }, "t.json: model.vocab[2]: expected"},
      {"piece twice", [](Json& j) { j["vocab"][2][0] = "a"; }, "the piece \"a\" has two ids, 2 and 3"},
      {"score NaN", [](Json& j) { j["vocab"][2][1] = std::nan(""); }, "the score of piece 2 (\"▁\") is nan"},
      {"score infinite", [](Json& j) { j["vocab"][2][1] = -HUGE_VAL; }, "the score of piece 2 (\"▁\") is -inf"},
      {"unk_id outside", [](Json& j) { j["unk_id"] = 6; }, "t.json: model: unk_id is 6, which no piece has"},
      {"unk_id huge", [](Json& j) { j["unk_id"] = UINT64_MAX; }, "\"unk_id\" should be an integer"},
      {"unk_id no number", [](Json& j) { j["unk_id"] = "0"; }, "\"unk_id\" should be an integer"},
      {"byte_fallback", [](Json& j) { j["byte_fallback"] = 1; }, "\"byte_fallback\" should be true or false"},
  };
  for (const Case& row : cases) {
    Json json = testing::small_unigram();
    row.damage(json["model"]);
    EXPECT_THAT(refusal([&] { make(json); }), HasSubstr(row.message)) << row.name;
  }
}

TEST(TokenizerJson, RefusesWordPiece) {
  const std::pair<Json, const char*> cases[] = {
      {{{"unk_token", 3}}, "t.json: model: key \"unk_token\" should be a string"},
      {{{"continuing_subword_prefix", 3}}, "\"continuing_subword_prefix\" should be a string"},
      {{{"max_input_chars_per_word", -1}}, "t.json: model: max_input_chars_per_word is -1, expected a count"},
      {{{"max_input_chars_per_word", UINT64_MAX}}, "\"max_input_chars_per_word\" should be an integer"},
      {{{"unk_token", "b"}}, "unk_token \"b\" is not in the vocabulary"},
  };
  for (const auto& [change, message] : cases) {
    Json json = {{"model", {{"type", "WordPiece"}, {"vocab", {{"[UNK]", 0}, {"a", 1}}}}}};
    EXPECT_THAT(make(json).encode("ab"), ElementsAre(0));
    json["model"].update(change);
    EXPECT_THAT(refusal([&] { make(json); }), HasSubstr(message));
  }
}

TEST(TokenizerJson, SkipsTheVersionLineAmongMerges) {
  Json json = small();
  json["model"]["merges"] = {"#version: 0.2", "a b", "ab c"};
  EXPECT_THAT(make(json).encode("abc"), ElementsAre(30));
}

TEST(TokenizerJson, Refuses) {
  struct Case {
    const char* name;
    std::function<void(Json&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {"no object", [](Json& j) { j = Json::array(); }, "t.json: expected an object with the key \"model\""},
      {"no model", [](Json& j) { j.erase("model"); }, "t.json: model"},
      {"model type", [](Json& j) { j["model"]["type"] = "Magic"; },
       "t.json: model: the model type \"Magic\" is not supported (supported: BPE"},
      {"model type no string", [](Json& j) { j["model"]["type"] = 3; }, "\"type\" should be a string"},
      {"no vocab", [](Json& j) { j["model"].erase("vocab"); }, "t.json: model: expected an object under \"vocab\""},
      {"vocab is a list", [](Json& j) { j["model"]["vocab"] = Json::array(); }, "expected an object under \"vocab\""},
      {"id no integer", [](Json& j) { j["model"]["vocab"]["a"] = "1"; },
       "t.json: model.vocab: the id of \"a\" should be an integer"},
      {"id is a fraction", [](Json& j) { j["model"]["vocab"]["a"] = 1.5; }, "the id of \"a\" should be an integer"},
      {"negative id", [](Json& j) { j["model"]["vocab"]["a"] = -1; },
       "t.json: model.vocab: the piece \"a\" has the id -1, expected 0 to"},
      {"huge id", [](Json& j) { j["model"]["vocab"]["a"] = int64_t{1} << 40; },
       "the piece \"a\" has the id 1099511627776"},
      {"largest id", [](Json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; }, "the id of \"a\" should be an integer"},
      {"id twice", [](Json& j) { j["model"]["vocab"]["a"] = 2; }, "the id 2 belongs to both \"a\" and \"b\""},
      {"no merges", [](Json& j) { j["model"].erase("merges"); }, "expected an array under \"merges\""},
      {"unknown piece in a merge", [](Json& j) { j["model"]["merges"].push_back("a c"); },
       "t.json: model: merge 2 (\"a\" and \"c\") needs the piece \"ac\""},
      {"merge of three", [](Json& j) { j["model"]["merges"].push_back("a b c"); },
       "merge 2 is \"a b c\", expected two pieces"},
      {"merge of one", [](Json& j) { j["model"]["merges"].push_back(Json::array({"a"})); },
       "merge 2 should be \"left right\""},
      {"merge of numbers",
       [](Json& j) {
         j["model"]["merges"].push_back(Json::array({1, 2}));
       },
       "merge 2 should be \"left right\""},
      {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "dropout is set"},
      {"unk_token", [](Json& j) { j["model"]["unk_token"] = "<unk>"; }, "unk_token \"<unk>\" is not in the vocabulary"},
      {"unk_token no string", [](Json& j) { j["model"]["unk_token"] = 0; }, "\"unk_token\" should be a string"},
      {"byte_fallback no flag", [](Json& j) { j["model"]["byte_fallback"] = 1; },
       "\"byte_fallback\" should be true or false"},
      {"added token endless", [](Json& j) { j["added_tokens"][1]["content"] = std::string(5000, 'x'); },
       "t.json: added_tokens[1]: the added token \"xxx"},
      {"added tokens no list", [](Json& j) { j["added_tokens"] = 4; }, "expected an array under \"added_tokens\""},
      {"added token no object", [](Json& j) { j["added_tokens"].push_back(4); }, "t.json: added_tokens[2]"},
      {"added token without id", [](Json& j) { j["added_tokens"][1].erase("id"); },
       "t.json: added_tokens[1]: the key \"id\""},
      {"added token's id taken", [](Json& j) { j["added_tokens"][1]["id"] = 5; },
       "\"</s>\" has the id 5, which belongs to \"e\""},
      {"added token's id twice", [](Json& j) { j["added_tokens"][1]["id"] = 31; },
       "the id 31 belongs to both \"<s>\" and \"</s>\""},
      {"added token's id negative", [](Json& j) { j["added_tokens"][1]["id"] = -4; },
       "the piece \"</s>\" has the id -4"},
      {"added token's id huge", [](Json& j) { j["added_tokens"][1]["id"] = int64_t{1} << 40; },
       "the piece \"</s>\" has the id 1099511627776"},
      {"normalizer",
       [](Json& j) {
         j["normalizer"] = {{"type", "Magic"}};
       },
       "t.json: normalizer: the normalizer \"Magic\" is not supported"},
      {"pre_tokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "X"}};
       },
       "t.json: pre_tokenizer: the pre-tokenizer \"X\""},
      {"decoder", [](Json& j) { j["decoder"] = "ByteLevel"; }, "t.json: decoder"},
      {"post_processor",
       [](Json& j) {
         j["post_processor"] = {{"type", "X"}};
       },
       "t.json: post_processor: the post-processor \"X\""},
  };
  for (const Case& row : cases) {
    Json json = small();
    row.damage(json);
    EXPECT_THAT(refusal([&] { make(json); }), HasSubstr(row.message)) << row.name;
  }
}

TEST(TokenizerJson, FromAFolder) {
  const testing::TemporaryFolder folder;
  EXPECT_THAT(refusal([&] { Tokenizer::from_path(folder.path()); }), HasSubstr("has no tokenizer.json"));
  write_file(folder / "tokenizer.model", "x");
  EXPECT_THAT(refusal([&] { Tokenizer::from_path(folder.path()); }),
              HasSubstr("has tokenizer.model but no tokenizer.json; make one"));
  write_file(folder / "tokenizer.json", small().dump());
  write_file(folder / "tokenizer_config.json", R"({"bos_token": "<s>", "add_bos_token": true})");
  EXPECT_THAT(Tokenizer::from_path(folder.path()).encode("a"), ElementsAre(31, 1));
  EXPECT_THAT(Tokenizer::from_path(folder / "tokenizer.json").encode("a"), ElementsAre(31, 1));
  write_file(folder / "tokenizer.json", "{");
  EXPECT_THAT(refusal([&] { Tokenizer::from_path(folder.path()); }), HasSubstr("tokenizer.json: line 1"));
  EXPECT_THROW(Tokenizer::from_path(folder / "missing.gguf"), Error);
}

TEST(TokenizerJson, SeveralThreads) {
  const Tokenizer tokenizer = make(small());
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += i % 3 ? "abc " : "ab cd ";
  const std::vector<int64_t> expected = tokenizer.encode(text);
  std::vector<std::vector<int64_t>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (auto& thread : threads) thread.join();
  for (const auto& ids : found) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace spikescope
