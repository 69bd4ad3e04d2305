// Capture and analyses on real checkpoints: the fixture with a planted massive activation, and SmolLM2 where it is
// fetched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "analyses/run.h"
#include "capture/capture.h"
#include "families/checkpoint.h"
#include "fixtures.h"
#include "io/safetensors.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using testing::TemporaryFolder;

/// Captures one prompt of these ids with all that the analyses need, and runs them.
void analyse(const Checkpoint& checkpoint, std::vector<int64_t> ids, const std::filesystem::path& out) {
  DumpTokens tokens;
  tokens.offsets = {0, static_cast<int64_t>(ids.size())};
  tokens.strings.resize(ids.size());
  tokens.ids = std::move(ids);
  tokens.prompts = {{{"source", "test"}}};
  DumpInfo info;
  info.model = checkpoint.path().string();
  info.model_name = "test";
  info.family = checkpoint.architecture().family;
  info.config = to_json(checkpoint.architecture());
  std::vector<const Analysis*> chosen;
  for (const Analysis& analysis : analyses()) chosen.push_back(&analysis);
  const Needs needs = combined_needs(chosen);
  CaptureRequest request;
  request.points_if_any = needs.points;
  request.sinks = needs.sinks;
  request.writers = needs.writers;
  capture(checkpoint, tokens, info, request, out, [](double) {});
  run_analyses(out, chosen, [&]() -> const ModelWeights& { return checkpoint.weights(); }, {});
}

TEST(RealCheckpoint, PlantedActivationIsFoundWithItsNeuron) {
  SKIP_WITHOUT_SHARED("fixtures/models/llama/meta.json");
  const std::filesystem::path model = testing::shared_folder() / "fixtures/models/llama";
  const Json planted = read_json_file(model / "meta.json").at("massive_activation");
  const SafetensorsFile golden = read_safetensors(model / "golden.safetensors");
  const TensorInfo& input = golden.tensors.require("input_ids");
  std::vector<int64_t> ids(input.bytes.size() / sizeof(int64_t));
  std::memcpy(ids.data(), input.bytes.data(), input.bytes.size());

  const TemporaryFolder folder;
  analyse(*Checkpoint::open(model), ids, folder.path());
  const Json json = read_json_file(folder / "results/spikes.json");
  ASSERT_THAT(json["spikes"], SizeIs(1));
  const Json& spike = json["spikes"][0];
  EXPECT_EQ(spike["token"], planted["token"]);
  EXPECT_EQ(spike["dims"], Json({planted["dim"]}));
  EXPECT_EQ(spike["birth"], planted["hidden_state"]);
  EXPECT_TRUE(spike["death"].is_null());
  EXPECT_NEAR(spike["value"].get<double>(), planted["value"].get<double>(), 0.01);
  EXPECT_NEAR(spike["ratio"].get<double>(), planted["ratio"].get<double>(), 0.1);
  ASSERT_THAT(json["writers"], SizeIs(1));
  const Json& writer = json["writers"][0];
  EXPECT_EQ(writer["block"], planted["hidden_state"].get<int64_t>() - 1);
  EXPECT_NEAR(writer["mlp"].get<double>() + writer["attention"].get<double>(),
              planted["value"].get<double>() - planted["before"].get<double>(), 1.0);
  EXPECT_EQ(writer["neurons"][0]["index"], planted["neuron"]);
  EXPECT_GT(writer["neurons"][0]["share"].get<double>(), 0.99);
}

TEST(RealCheckpoint, SmolLM2HasTwoPlateausAndTheirWriters) {
  SKIP_WITHOUT_SMOLLM2();
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const TemporaryFolder folder;
  analyse(*checkpoint, checkpoint->tokenizer().encode("Summer is warm. Winter is cold.\n"), folder.path());
  const Json json = read_json_file(folder / "results/spikes.json");
  const Json& layers = json["layers"];
  for (const auto& [layer, value] : {std::pair(2, 206.1), {3, 712.99}, {9, 570.49}, {12, 23147.14}, {29, 8442.44}}) {
    const Json& top = layers[static_cast<size_t>(layer)]["top"][0];
    EXPECT_EQ(top["token"], 0);
    EXPECT_EQ(top["dim"], 507);
    EXPECT_NEAR(top["value"].get<double>(), value, 1e-4 * value + 0.05);
  }
  EXPECT_NEAR(layers[12]["median"].get<double>(), 1.721, 1e-3);
  EXPECT_EQ(layers[3]["published_rule_flags"], 0);
  EXPECT_EQ(layers[12]["published_rule_flags"], 1);

  const Json& plateaus = json["plateaus"];
  ASSERT_THAT(plateaus, SizeIs(2));
  EXPECT_THAT((std::vector<int>{plateaus[0]["first"], plateaus[0]["last"], plateaus[1]["first"], plateaus[1]["last"]}),
              ElementsAre(3, 9, 12, 28));
  struct Expected {
    int block;
    double mlp;
    int neuron;
    double share;
  };
  const std::vector<Expected> expected = {{1, 163, 83, 0.687},     {2, 510, 90, 0.66},     {8, -111, 1188, 0.468},
                                          {9, -484, 200, 0.82},    {10, -58, 222, 0.423},  {11, 23108, 1229, 0.73},
                                          {28, -14267, 678, 0.96}, {29, -5515, 1165, 0.24}};
  ASSERT_THAT(json["writers"], SizeIs(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const Json& writer = json["writers"][i];
    EXPECT_EQ(writer["block"], expected[i].block);
    EXPECT_NEAR(writer["mlp"].get<double>(), expected[i].mlp, 0.6);
    EXPECT_EQ(writer["neurons"][0]["index"], expected[i].neuron);
    EXPECT_NEAR(writer["neurons"][0]["share"].get<double>(), expected[i].share, 0.006);
  }
  // Attention on the first token of these nine: 0.848 of the heads, mean 0.617 (transformers, float32).
  const Json sinks = read_json_file(folder / "results/sinks.json");
  EXPECT_NEAR(sinks["sink_rate"].get<double>(), 0.848, 1e-3);
  EXPECT_NEAR(sinks["mean_alpha"].get<double>(), 0.6172, 1e-3);
}

}  // namespace
}  // namespace spikescope
