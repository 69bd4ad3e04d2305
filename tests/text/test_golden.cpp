// Equality with Hugging Face's `tokenizers` on the shared cases: ids with and without special tokens, and decoding.
#include <gtest/gtest.h>

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
                                           "gemma_spm", "clip_bpe", "bert_wordpiece", "t5_unigram"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenGguf, EqualsHuggingFace) {
  SKIP_WITHOUT_SHARED("fixtures/gguf/cases.json");
  const fs::path folder = testing::shared_folder() / "fixtures/gguf";
  expect_cases(Tokenizer::from_path(folder / "llama-F32.gguf"), folder / "cases.json");
}

struct RealModel {
  const char* name;  ///< in the catalogue
  const char* file;
  const char* cases;
};
class GoldenReal : public ::testing::TestWithParam<RealModel> {};

TEST_P(GoldenReal, EqualsHuggingFace) {
  const auto [name, file, cases] = GetParam();
  const fs::path golden = fs::path("fixtures/tokenizers") / cases / "cases.json";
  SKIP_WITHOUT_SHARED(golden);
  const fs::path model = testing::smollm2_file().parent_path().parent_path() / name / file;
  if (!fs::exists(model)) {
    GTEST_SKIP() << "no model at " << model << "; fetch it with: spikescope models fetch " << name;
  }
  expect_cases(Tokenizer::from_path(model), testing::shared_folder() / golden);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenReal,
                         ::testing::Values(RealModel{"smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf", "real_smollm2"},
                                           RealModel{"gemma-3-270m", "gemma-3-270m-q4_k_m.gguf", "real_gemma3"}),
                         [](const auto& info) { return std::string(info.param.cases); });

}  // namespace
}  // namespace spikescope
