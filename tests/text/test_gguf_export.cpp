#include <gtest/gtest.h>

#include "../fixtures.h"
#include "io/gguf.h"
#include "text/gguf_export.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

Json small_metadata(bool add_bos) {
  return {{"tokenizer.ggml.model", "gpt2"},
          {"tokenizer.ggml.pre", "smollm"},
          {"tokenizer.ggml.tokens", {"H", "e", "l", "o", "He", "<s>", "1", "Ġ", "<tool>"}},
          {"tokenizer.ggml.merges", {"H e"}},
          {"tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 3, 1, 1, 4}},
          {"tokenizer.ggml.bos_token_id", 5},
          {"tokenizer.ggml.add_bos_token", add_bos}};
}

void expect_same(const Json& metadata, const std::vector<std::string>& texts) {
  const auto files = tokenizer_files_of_gguf(metadata, "small.gguf");
  ASSERT_TRUE(files);
  const Tokenizer from_file = Tokenizer::from_gguf(metadata, "small.gguf"),
                  exported = Tokenizer::from_json(files->tokenizer, files->config, "tokenizer.json");
  EXPECT_EQ(exported.bos(), from_file.bos());
  EXPECT_EQ(exported.adds_bos(), from_file.adds_bos());
  EXPECT_EQ(exported.size(), from_file.size());
  for (const std::string& text : texts) {
    const std::vector<int64_t> ids = from_file.encode(text);
    EXPECT_EQ(exported.encode(text), ids) << text;
    EXPECT_EQ(exported.decode(ids), from_file.decode(ids)) << text;
    EXPECT_EQ(exported.decode(ids, true), from_file.decode(ids, true)) << text;
  }
}

TEST(GgufExport, GivesTheSameIds) {
  for (const bool add_bos : {false, true}) expect_same(small_metadata(add_bos), {"Hello", "He11<s>o <tool>l", ""});
}

TEST(GgufExport, OfSmolLM2) {
  SKIP_WITHOUT_SMOLLM2();
  expect_same(
      read_gguf(testing::smollm2_file()).metadata,
      {"Hello, world! It's 1234.", "<|im_start|>user\nHi<|im_end|>\n", "naïve café – 東京 🙂\t\n\n  x"});
}

TEST(GgufExport, OtherKindsHaveNone) {
  Json metadata = small_metadata(false);
  metadata["tokenizer.ggml.model"] = "llama";
  EXPECT_FALSE(tokenizer_files_of_gguf(metadata, "small.gguf"));
}

}  // namespace
}  // namespace spikescope
