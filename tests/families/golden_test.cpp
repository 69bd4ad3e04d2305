// Parity with transformers on the shared fixtures: every recorded tensor of every model, at the tolerances its
// meta.json states, by the streaming attention and by the one that makes whole squares.

#include "../golden.h"

#include <set>

#include "families/checkpoint.h"
#include "io/json.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using testing::Recorder;

struct Case {
  std::string model;
  bool legacy;   // config as transformers 4 wrote it
  bool squares;  // hooks on scores and pattern
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << (c.legacy ? " legacy" : "") << (c.squares ? " squares" : "");
}

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, EveryRecordedTensor) {
  const Case& c = GetParam();
  SKIP_WITHOUT_SHARED("fixtures/models/" + c.model);
  const fs::path source = testing::shared_folder() / "fixtures/models" / c.model;
  const testing::TemporaryFolder folder;
  for (const auto& entry : fs::directory_iterator(source))
    if (!entry.path().filename().string().starts_with("config"))
      fs::create_symlink(entry.path(), folder / entry.path().filename().string());
  fs::create_symlink(source / (c.legacy ? "config_legacy.json" : "config.json"), folder / "config.json");

  const auto checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(checkpoint->unused_tensors().empty());
  const SafetensorsFile golden = read_safetensors(source / "golden.safetensors");
  const Json meta = read_json_file(source / "meta.json");
  TokenBatch batch;
  batch.ids = testing::raw_values<int64_t>(golden.tensors.require("input_ids"));
  batch.offsets = {0, static_cast<int64_t>(batch.ids.size())};

  Recorder recorder(batch);
  Hooks hooks;
  for (const HookPoint& point : hook_points(checkpoint->architecture()))
    if (c.squares || point.kind().shape != PointShape::square) hooks.observe(point.name(), recorder.observer());
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);

  const int compared = testing::compare_with_golden(
      golden.tensors, checkpoint->architecture(), recorder, c.squares, [&](const std::string& name) {
        const Json& tolerances = meta.at("tolerances");
        return tolerances.contains(name) ? tolerances.at(name).at("atol").get<double>() : 0.0;  // of integers
      });
  const int expected = static_cast<int>(golden.tensors.tensors().size()) - 1 -
                       static_cast<int>(checkpoint->architecture().n_layers) * (c.squares ? 1 : 3);
  EXPECT_EQ(compared, expected)
      << "input_ids, masks and (without squares) scores and probs are not compared, all else is";
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* model : {"llama",           "llama_bias", "llama3_rope",  "llama_linear_rope",
                            "llama_yarn_rope", "mistral",    "mixtral",      "qwen2",
                            "qwen3",           "gemma2",     "gemma3_text",  "phi3",
                            "smollm3",         "olmo2",      "stablelm",     "deepseek_v2",
                            "deepseek_v3",     "gpt2",       "gpt2_bare",    "gpt_neox",
                            "gpt_neox_seq",    "opt",        "bloom",        "mpt",
                            "falcon",          "falcon_new", "falcon_alibi", "bert"})
    for (const bool legacy : {false, true})
      for (const bool squares : {false, true}) all.push_back({model, legacy, squares});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, ::testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.model + (info.param.legacy ? "_legacy" : "") + (info.param.squares ? "_squares" : "");
});

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
