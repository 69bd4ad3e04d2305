#include "capture/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "../fixtures.h"
#include "../tiny_model.h"
#include "base/error.h"
#include "capture/builtin_prompts.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The tiny model's tokenizer with '@' as a BOS that it adds by itself, or not.
Tokenizer tokenizer_with_bos(bool adds) {
  Json json = testing::tiny_tokenizer();
  json["added_tokens"].push_back({{"id", 0},
                                  {"content", "@"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", true}});
  if (adds)
    json["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "@"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair", {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
        {"special_tokens", {{"@", {{"id", "@"}, {"ids", {0}}, {"tokens", {"@"}}}}}}};
  return Tokenizer::from_json(json, {{"bos_token", "@"}}, "tokenizer.json");
}

PromptRequest texts(std::vector<std::string> all, Bos bos = Bos::automatic) {
  PromptRequest request;
  request.texts = std::move(all);
  request.bos = bos;
  return request;
}

TEST(ReadPrompts, BosIsNeverASurprise) {
  const Tokenizer adds = tokenizer_with_bos(true), silent = tokenizer_with_bos(false);
  EXPECT_THAT(read_prompts(texts({"ab"}), &adds).ids, ElementsAre(0, 33, 34));
  EXPECT_THAT(read_prompts(texts({"ab"}), &silent).ids, ElementsAre(33, 34));
  EXPECT_THAT(read_prompts(texts({"ab"}, Bos::always), &adds).ids, ElementsAre(0, 33, 34)) << "not twice";
  EXPECT_THAT(read_prompts(texts({"ab"}, Bos::always), &silent).ids, ElementsAre(0, 33, 34));
  EXPECT_THAT(read_prompts(texts({"ab"}, Bos::never), &adds).ids, ElementsAre(33, 34));
  EXPECT_EQ(bos_description(texts({"ab"}), &adds), "@ (id 0)");
  EXPECT_EQ(bos_description(texts({"ab"}), &silent), "none");
  EXPECT_EQ(bos_description(texts({"ab"}, Bos::always), &silent), "@ (id 0)");
  EXPECT_EQ(bos_description(texts({"ab"}, Bos::never), &adds), "none");
  const Tokenizer none = Tokenizer::from_json(testing::tiny_tokenizer(), nullptr, "tokenizer.json");
  EXPECT_THROW(read_prompts(texts({"ab"}, Bos::always), &none), UsageError);
}

TEST(ReadPrompts, PromptsStandOneAfterTheOtherWithTheirOrigin) {
  const Tokenizer tokenizer = tokenizer_with_bos(false);
  const DumpTokens tokens = read_prompts(texts({"abc", "de"}), &tokenizer);
  EXPECT_THAT(tokens.offsets, ElementsAre(0, 3, 5));
  EXPECT_THAT(tokens.strings, ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_EQ(tokens.n_prompts(), 2);
  EXPECT_EQ(tokens.length(1), 2);
  EXPECT_EQ(tokens.prompts[1].at("text"), "de");
  EXPECT_EQ(tokens.prompts[1].at("source"), "--prompt 2");
}

TEST(ReadPrompts, WindowsAreCutFromTheWholeTextAndCountTheBos) {
  const testing::TemporaryFolder folder;
  testing::write_text(folder / "corpus.txt", "abcdefghij");
  const Tokenizer adds = tokenizer_with_bos(true);
  PromptRequest request;
  request.text_file = folder / "corpus.txt";
  request.windows = 3;
  request.length = 4;
  const DumpTokens tokens = read_prompts(request, &adds);
  EXPECT_THAT(tokens.ids, ElementsAre(0, 33, 34, 35, 0, 36, 37, 38, 0, 39, 40, 41));
  request.windows = 4;
  EXPECT_THROW(read_prompts(request, &adds), Error);
  request.length = 1;
  EXPECT_THROW(read_prompts(request, &adds), UsageError);
  request.length = 4;
  request.windows = 0;
  EXPECT_THROW(read_prompts(request, &adds), UsageError);
}

TEST(ReadPrompts, WindowsDoNotDependOnLineEnds) {
  const testing::TemporaryFolder folder;
  Json with_breaks = testing::tiny_tokenizer();
  with_breaks["model"]["vocab"]["Ċ"] = 64;  // newline
  with_breaks["model"]["vocab"]["č"] = 65;  // carriage return
  const Tokenizer tokenizer = Tokenizer::from_json(with_breaks, nullptr, "tokenizer.json");
  PromptRequest request;
  request.text_file = folder / "corpus.txt";
  request.windows = 1;
  request.length = 5;
  testing::write_text(*request.text_file, "a\r\nb\r\r\n");
  EXPECT_THAT(read_prompts(request, &tokenizer).ids, ElementsAre(33, 64, 34, 65, 64)) << "a lone \\r is text";
}

TEST(ReadPrompts, IdsNeedNoTokenizer) {
  const testing::TemporaryFolder folder;
  testing::write_text(folder / "ids.json", "[[5, 6], [7]]");
  PromptRequest request;
  request.ids_file = folder / "ids.json";
  const DumpTokens tokens = read_prompts(request, nullptr);
  EXPECT_THAT(tokens.ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(tokens.strings, ElementsAre("", "", ""));
  EXPECT_EQ(bos_description(request, nullptr), "none");
  EXPECT_THROW(read_prompts(texts({"ab"}), nullptr), Error);
}

TEST(BuiltinPrompts, AreSeveralLines) {
  const std::string_view prompts = builtin_prompts();
  EXPECT_GE(std::count(prompts.begin(), prompts.end(), '\n'), 10);
  EXPECT_TRUE(prompts.starts_with("Summer is warm."));
}

}  // namespace
}  // namespace spikescope

namespace spikescope {
namespace {

TEST(RandomFirst, AreDistinctMarkedPromptsOfOneToken) {
  DumpTokens tokens;
  tokens.ids = {5, 6};
  tokens.offsets = {0, 2};
  tokens.strings = {"a", "b"};
  tokens.prompts = {{{"source", "x"}}};
  DumpTokens again = tokens, other = tokens;
  add_random_first(tokens, 10, 1000, 3, nullptr);
  add_random_first(again, 10, 1000, 3, nullptr);
  add_random_first(other, 10, 1000, 4, nullptr);
  ASSERT_EQ(tokens.n_prompts(), 11);
  EXPECT_EQ(tokens.size(), 12);
  EXPECT_EQ(tokens.strings.size(), 12u);
  for (int64_t prompt = 1; prompt < 11; ++prompt) {
    EXPECT_EQ(tokens.length(prompt), 1);
    EXPECT_EQ(tokens.prompts[static_cast<size_t>(prompt)].at(kRandomFirst), true);
    EXPECT_EQ(tokens.prompts[static_cast<size_t>(prompt)].at("seed"), 3);
  }
  EXPECT_EQ(std::set<int64_t>(tokens.ids.begin() + 2, tokens.ids.end()).size(), 10u);
  EXPECT_EQ(tokens.ids, again.ids);
  EXPECT_NE(tokens.ids, other.ids);
  EXPECT_THROW(add_random_first(tokens, 11, 10, 3, nullptr), UsageError);
}

}  // namespace
}  // namespace spikescope
