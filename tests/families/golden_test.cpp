// Parity with transformers: every recorded tensor of every model, at the tolerances its meta.json states, by the
// streaming attention and by the one that makes whole squares. Models that together have every feature lie in
// tests/golden (scripts/keep-golden.py), with a part of their tensors; all of them are shared fixtures.

#include "../golden.h"

#include "families/checkpoint.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using testing::Recorder;

struct Case {
  fs::path folder;
  bool legacy;   // config as transformers 4 wrote it
  bool squares;  // hooks on scores and pattern
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.folder.string(); }

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, EveryRecordedTensor) {
  const Case& c = GetParam();
  if (!fs::exists(c.folder)) GTEST_SKIP() << testing::no_fixtures_at(c.folder);
  const testing::TemporaryFolder copy;
  for (const auto& entry : fs::directory_iterator(c.folder))
    if (!entry.path().filename().string().starts_with("config"))
      fs::create_symlink(entry.path(), copy / entry.path().filename().string());
  fs::create_symlink(c.folder / (c.legacy ? "config_legacy.json" : "config.json"), copy / "config.json");

  const auto checkpoint = Checkpoint::open(copy.path());
  EXPECT_TRUE(checkpoint->unused_tensors().empty());
  testing::expect_golden(checkpoint->weights(), c.folder, c.squares);
}

std::vector<Case> cases(const fs::path& folder, const std::vector<std::string>& models) {
  std::vector<Case> all;
  for (const std::string& model : models)
    for (const bool legacy : {false, true})
      for (const bool squares : {false, true}) all.push_back({folder / model, legacy, squares});
  return all;
}

std::vector<Case> kept() {
  return cases(testing::kept_models(), {"bert", "deepseek_v3", "falcon", "falcon_alibi", "falcon_new", "gemma2",
                                        "gemma3_text", "gpt2_bare", "gpt_neox", "llama_yarn_rope", "mixtral", "mpt",
                                        "olmo2", "opt", "phi3", "qwen3", "smollm3", "stablelm"});
}

std::vector<Case> shared() {
  return cases(testing::shared_models(), {"llama",           "llama_bias", "llama3_rope",  "llama_linear_rope",
                                          "llama_yarn_rope", "mistral",    "mixtral",      "qwen2",
                                          "qwen3",           "gemma2",     "gemma3_text",  "phi3",
                                          "smollm3",         "olmo2",      "stablelm",     "deepseek_v2",
                                          "deepseek_v3",     "gpt2",       "gpt2_bare",    "gpt_neox",
                                          "gpt_neox_seq",    "opt",        "bloom",        "mpt",
                                          "falcon",          "falcon_new", "falcon_alibi", "bert"});
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  return info.param.folder.filename().string() + (info.param.legacy ? "_legacy" : "") +
         (info.param.squares ? "_squares" : "");
}

INSTANTIATE_TEST_SUITE_P(Kept, Golden, ::testing::ValuesIn(kept()), name_of);
INSTANTIATE_TEST_SUITE_P(Shared, Golden, ::testing::ValuesIn(shared()), name_of);

TEST(KeptModels, AreThere) {
  for (const Case& c : kept()) EXPECT_TRUE(fs::exists(c.folder / "golden.safetensors")) << c.folder;
}

/// GGUF: hidden states, final norm and logits of the dequantised weights, within 1e-5 of each tensor's maximum.
class GoldenGguf : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenGguf, HiddenStatesAndLogits) {
  const std::string name = std::string("fixtures/gguf/llama-") + GetParam();
  SKIP_WITHOUT_SHARED(name + ".gguf");
  const auto checkpoint = Checkpoint::open(testing::shared_folder() / (name + ".gguf"));
  EXPECT_TRUE(checkpoint->unused_tensors().empty());
  const SafetensorsFile golden = read_safetensors(testing::shared_folder() / (name + ".golden.safetensors"));
  TokenBatch batch;
  batch.ids = testing::raw_values<int64_t>(golden.tensors.require("input_ids"));
  batch.offsets = {0, static_cast<int64_t>(batch.ids.size())};
  Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("*", recorder.observer());
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);
  const int compared = testing::compare_with_golden(
      golden.tensors, checkpoint->architecture(), recorder, true, [&](const std::string& tensor) {
        double largest = 0.0;
        for (const float value : read_tensor(golden.tensors.require(tensor)))
          largest = std::max(largest, std::abs(static_cast<double>(value)));
        return 1e-5 * largest;
      });
  EXPECT_EQ(compared, checkpoint->architecture().n_layers + 3);
}

INSTANTIATE_TEST_SUITE_P(Llama, GoldenGguf,
                         ::testing::Values("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"));

}  // namespace
}  // namespace spikescope
