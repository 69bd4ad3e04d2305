// Gemma 3 270M as a real GGUF: K-quants, sandwich norms, QK-norm, local and global blocks, against what transformers
// computes on the same file (scripts/gemma3-reference.py).

#include "../golden.h"
#include "families/checkpoint.h"

namespace spikescope {
namespace {

using testing::Recorder;

class Gemma3 : public ::testing::TestWithParam<const char*> {};

TEST_P(Gemma3, AgreesWithTransformers) {
  SKIP_WITHOUT_GEMMA3();
  const Json golden = read_json_file(std::filesystem::path(SPIKESCOPE_SOURCE_DIR) / "tests/families/gemma-3-270m.json")
                          .at("runs")
                          .at(GetParam());
  const auto checkpoint = Checkpoint::open(testing::gemma3_file());
  const int64_t d = checkpoint->architecture().d_model;
  TokenBatch batch;
  batch.ids = golden.at("ids").get<std::vector<int64_t>>();
  const auto n = static_cast<int64_t>(batch.ids.size());
  batch.offsets = {0, n};
  Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("blocks.*.resid_post", recorder.observer());
  PassObserver none;
  const RunResult result = run_model(checkpoint->weights(), batch, hooks, none, {.losses = true});

  const Json& states = golden.at("states");
  ASSERT_EQ(static_cast<int64_t>(states.size()), checkpoint->architecture().n_layers);
  for (size_t l = 0; l < states.size(); ++l) {
    const std::vector<float>& values = recorder.at("blocks." + std::to_string(l) + ".resid_post").values;
    for (const Json& top : states[l].at("top")) {
      const double expected = top[2].get<double>();
      EXPECT_NEAR(values[top[0].get<size_t>() * static_cast<size_t>(d) + top[1].get<size_t>()], expected,
                  1e-4 * std::abs(expected))
          << "block " << l;
    }
    double squares = 0.0;
    for (auto i = values.end() - d; i != values.end(); ++i) squares += static_cast<double>(*i) * *i;
    const double norm = states[l].at("l2_last").get<double>();
    EXPECT_NEAR(std::sqrt(squares), norm, 1e-4 * norm) << "block " << l << ", last token";
  }
  const Json& losses = golden.at("nll");
  const size_t first = static_cast<size_t>(n) - 1 - losses.size();
  for (size_t t = 0; t < losses.size(); ++t)
    EXPECT_NEAR(result.losses.at(first + t), losses[t].get<double>(), 2e-3) << "token " << first + t;
}

INSTANTIATE_TEST_SUITE_P(Runs, Gemma3, ::testing::Values("prompt", "text"));  // the text is longer than the window

}  // namespace
}  // namespace spikescope
