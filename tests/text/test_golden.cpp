// Equality with Hugging Face's `tokenizers` on the shared cases: ids with and without special tokens, and decoding.
#include <gtest/gtest.h>

#include <cstdlib>

#include "fixtures.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;

std::string decoded(const Tokenizer& tokenizer, const Json& ids, bool skip_special) {
  return tokenizer.decode(ids.get<std::vector<int64_t>>(), skip_special);
}

void expect_cases(const Tokenizer& tokenizer, const fs::path& file) {
  const Json golden = read_json_file(file);
  ASSERT_GE(golden.at("cases").size(), 185u);
  for (const Json& row : golden.at("cases")) {
    const auto text = row.at("text").get<std::string>();
    EXPECT_EQ(Json(tokenizer.encode(text)), row.at("ids")) << "text: " << text;
    EXPECT_EQ(Json(tokenizer.encode(text, false)), row.at("ids_no_special")) << "text: " << text;
    EXPECT_EQ(decoded(tokenizer, row.at("ids_no_special"), false), row.at("decoded").get<std::string>());
    EXPECT_EQ(decoded(tokenizer, row.at("ids"), true), row.at("decoded_skip_special").get<std::string>());
  }
  ASSERT_GE(golden.at("decode_cases").size(), 30u);
  for (const Json& row : golden.at("decode_cases")) {
    EXPECT_EQ(decoded(tokenizer, row.at("ids"), false), row.at("decoded").get<std::string>()) << row.at("ids");
    EXPECT_EQ(decoded(tokenizer, row.at("ids"), true), row.at("decoded_skip_special").get<std::string>())
        << row.at("ids");
  }
}

class GoldenJson : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenJson, EqualsHuggingFace) {
  const fs::path folder = fs::path("fixtures/tokenizers") / GetParam();
  SKIP_WITHOUT_SHARED(folder);
  expect_cases(Tokenizer::from_path(testing::shared_folder() / folder),
               testing::shared_folder() / folder / "cases.json");
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GoldenJson,
                         ::testing::Values("gpt2_bpe", "smollm_bpe", "llama2_spm", "llama3_bpe", "qwen2_bpe",
                                           "gemma_spm", "clip_bpe"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenGguf, EqualsHuggingFace) {
  SKIP_WITHOUT_SHARED("fixtures/gguf/cases.json");
  const fs::path folder = testing::shared_folder() / "fixtures/gguf";
  expect_cases(Tokenizer::from_path(folder / "llama-F32.gguf"), folder / "cases.json");
}

TEST(GoldenGguf, SmolLm2) {
  SKIP_WITHOUT_SHARED("fixtures/tokenizers/real_smollm2/cases.json");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path folder = cache && *cache ? fs::path(cache) : fs::path(home ? home : "") / ".cache";
  const fs::path file = folder / "spikescope/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(file)) {
    GTEST_SKIP() << "no model at " << file << "; fetch it with: spikescope models fetch smollm2-135m";
  }
  expect_cases(Tokenizer::from_path(file), testing::shared_folder() / "fixtures/tokenizers/real_smollm2/cases.json");
}

}  // namespace
}  // namespace spikescope
