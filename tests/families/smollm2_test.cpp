// The real model against transformers' figures: SmolLM2-135M-Instruct, Q4_1 GGUF, float32.

#include <algorithm>
#include <cmath>

#include "../golden.h"
#include "families/checkpoint.h"
#include "model/product.h"

namespace spikescope {
namespace {

using testing::Recorder;

/// Keeps the mean attention that token 0 gets from queries t >= 1, a row a layer.
class SinkRecorder : public PassObserver {
 public:
  explicit SinkRecorder(int64_t tokens) : tokens_(tokens) {}
  bool wants_sinks() const override { return true; }
  void sinks(int layer, SinkStatistics statistics) override {
    std::vector<double> row;
    for (int64_t head = 0; head < statistics.heads; ++head)
      row.push_back(statistics.column_sums[static_cast<size_t>(head * tokens_)] / static_cast<double>(tokens_ - 1));
    to_token0.push_back(row);
  }
  std::vector<std::vector<double>> to_token0;

 private:
  int64_t tokens_;
};

double close_to(double expected, double relative = 1e-4) { return relative * std::abs(expected); }

void expect_state(const Json& expected, const std::vector<float>& values, int64_t d, const std::string& name) {
  for (const Json& entry : expected.at("top10")) {
    const int64_t index = entry[0].get<int64_t>() * d + entry[1].get<int64_t>();
    EXPECT_NEAR(values[static_cast<size_t>(index)], entry[2].get<double>(), close_to(entry[2])) << name;
  }
  std::vector<double> magnitudes;
  double sum = 0.0;
  for (const float value : values) {
    magnitudes.push_back(std::abs(static_cast<double>(value)));
    sum += magnitudes.back();
  }
  EXPECT_NEAR(sum / static_cast<double>(values.size()), expected.at("mean_abs"), close_to(expected.at("mean_abs")))
      << name;
  const auto middle = magnitudes.begin() + static_cast<int64_t>((magnitudes.size() - 1) / 2);
  std::nth_element(magnitudes.begin(), middle, magnitudes.end());
  EXPECT_NEAR(*middle, expected.at("median_abs"), close_to(expected.at("median_abs"))) << name;
  const Json& norms = expected.at("l2_per_token");
  for (size_t t = 0; t < norms.size(); ++t) {
    double squares = 0.0;
    for (int64_t i = 0; i < d; ++i)
      squares += std::pow(static_cast<double>(values[t * static_cast<size_t>(d) + static_cast<size_t>(i)]), 2.0);
    EXPECT_NEAR(std::sqrt(squares), norms[t].get<double>(), close_to(norms[t])) << name << " token " << t;
  }
}

class SmolLM2 : public ::testing::TestWithParam<const char*> {};

TEST_P(SmolLM2, AgreesWithTransformers) {
  SKIP_WITHOUT_SHARED("fixtures/real_smollm2.json");
  SKIP_WITHOUT_SMOLLM2();
  const Json golden = read_json_file(testing::shared_folder() / "fixtures/real_smollm2.json").at("runs").at(GetParam());
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const Architecture& a = checkpoint->architecture();
  TokenBatch batch;
  batch.ids = golden.at("ids").get<std::vector<int64_t>>();
  const int64_t n = static_cast<int64_t>(batch.ids.size());
  batch.offsets = {0, n};
  Recorder recorder(batch);
  Hooks hooks;
  for (const char* glob : {"blocks.*.resid_pre", "blocks.*.resid_post", "ln_final.out"})
    hooks.observe(glob, recorder.observer());
  SinkRecorder sinks(n);
  RunOptions options;
  options.losses = true;
  const RunResult result = run_model(checkpoint->weights(), batch, hooks, sinks, options);

  const Json& states = golden.at("hidden_states");
  ASSERT_EQ(states.size(), static_cast<size_t>(a.n_layers) + 1);
  for (size_t l = 0; l < states.size(); ++l) {
    const std::string name = l == 0 ? "blocks.0.resid_pre" : "blocks." + std::to_string(l - 1) + ".resid_post";
    expect_state(states[l], recorder.at(name).values, a.d_model, name);
  }
  expect_state(golden.at("final_norm"), recorder.at("ln_final.out").values, a.d_model, "ln_final.out");
  const Json& attention = golden.at("attention_to_token0");
  for (size_t l = 0; l < attention.size(); ++l)
    for (size_t h = 0; h < attention[l].size(); ++h)
      EXPECT_NEAR(sinks.to_token0.at(l).at(h), attention[l][h].get<double>(), 1e-4) << "layer " << l << " head " << h;
  const Json& losses = golden.at("nll");
  for (size_t t = 0; t < losses.size(); ++t)
    EXPECT_NEAR(result.losses.at(t), losses[t].get<double>(), 2e-3) << "token " << t;
  EXPECT_TRUE(std::isnan(result.losses.back()));
}

INSTANTIATE_TEST_SUITE_P(Runs, SmolLM2, ::testing::Values("prompt", "wiki64"));

/// bfloat16 keeps 8 bits of a factor: losses agree to some hundredths, the plateaus to some per cent.
TEST(SmolLM2Bfloat16, KeepsSpikesAndLosses) {
  SKIP_WITHOUT_SMOLLM2();
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const TokenBatch batch{{34386, 314, 3091, 30, 16062, 314, 4011, 30, 198}, {0, 9}};
  PassObserver none;
  const auto run = [&](Dtype dtype, Recorder& recorder) {
    choose_products(dtype);
    Hooks hooks;
    hooks.observe("blocks.*.resid_post", recorder.observer());
    const RunResult result = run_model(checkpoint->weights(), batch, hooks, none, {.losses = true});
    choose_products(Dtype::float32);
    return result.losses;
  };
  Recorder exact(batch), rounded(batch);
  const std::vector<float> losses = run(Dtype::float32, exact), rounded_losses = run(Dtype::bfloat16, rounded);
  double sum = 0.0, rounded_sum = 0.0;
  for (size_t i = 0; i + 1 < losses.size(); ++i) {
    sum += losses[i];
    rounded_sum += rounded_losses[i];
  }
  EXPECT_NE(sum, rounded_sum);
  EXPECT_NEAR(rounded_sum / 8.0, sum / 8.0, 0.05);
  for (int layer = 2; layer < 29; ++layer) {
    const std::string point = "blocks." + std::to_string(layer) + ".resid_post";
    const float spike = exact.at(point).values[507];
    if (std::abs(spike) < 500.0f) continue;  // between the plateaus it is the small rest of a large difference
    EXPECT_NEAR(rounded.at(point).values[507], spike, 0.03 * std::abs(spike)) << point;
  }
}

TEST(SmolLM2Spikes, StandWhereTheyWereMeasured) {
  SKIP_WITHOUT_SMOLLM2();
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const TokenBatch batch{{34386, 314, 3091, 30, 16062, 314, 4011, 30, 198}, {0, 9}};
  Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("blocks.*.resid_post", recorder.observer());
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);
  EXPECT_NEAR(recorder.at("blocks.11.resid_post").values[507], 23147.1, 2.4);
  EXPECT_NEAR(recorder.at("blocks.2.resid_post").values[507], 713.0, 0.08);
}

}  // namespace
}  // namespace spikescope
