// The scan on the tiny model, on golden models with and without planted spikes, and on real ones.
#include "scan/scan.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "../tiny_model.h"
#include "error_of.h"
#include "fixtures.h"
#include "model/runner.h"
#include "scan/against.h"
#include "scan/vocabulary_walk.h"

namespace spikescope {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const ScanProgress kSilent = [](double, const std::string&) {};

TokenBatch batch_of(std::vector<int64_t> ids, std::vector<int64_t> offsets) {
  return {std::move(ids), std::move(offsets)};
}

float& at(std::vector<testing::TinyTensor>& tensors, const std::string& name, size_t row, size_t column) {
  for (testing::TinyTensor& tensor : tensors)
    if (tensor.name == name) return tensor.values[row * static_cast<size_t>(tensor.shape.back()) + column];
  throw std::logic_error(name);
}

/// The tiny model with neuron 7 of block 1 writing 300 to dimension 5 and neuron 3 of block 2 taking it back.
class TinyScan : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    tensors_ = testing::tiny_tensors();
    plant(1, 7, 300.0f, 1.0f);
    plant(2, 3, 200.0f, -1.0f);
    testing::write_tensors(folder_ / "tiny/model.safetensors", tensors_);
  }
  /// Gate and up alike (or opposite), so that the activation has one sign.
  void plant(int block, size_t neuron, float weight, float sign) {
    const std::string mlp = "model.layers." + std::to_string(block) + ".mlp.";
    for (size_t i = 0; i < 16; ++i)
      at(tensors_, mlp + "up_proj.weight", neuron, i) = sign * at(tensors_, mlp + "gate_proj.weight", neuron, i);
    at(tensors_, mlp + "down_proj.weight", 5, neuron) = weight;
  }
  ScanResult scan_it() const { return scan(*Checkpoint::open(folder_ / "tiny"), {}, kSilent); }

  testing::TemporaryFolder folder_;
  std::vector<testing::TinyTensor> tensors_;
};

TEST_F(TinyScan, FindsWhatIsPlanted) {
  const ScanResult result = scan_it();
  ASSERT_THAT(result.dimensions, SizeIs(16));
  EXPECT_EQ(result.dimensions[0].dim, 5);
  EXPECT_TRUE(result.dimensions[0].leading);
  EXPECT_FALSE(result.dimensions[1].leading);
  EXPECT_EQ(result.dimensions[0].sign, 1);
  ASSERT_GE(result.neurons.size(), 2u);
  std::set<std::tuple<int, int64_t, bool>> first;
  for (size_t i = 0; i < 2; ++i)
    first.insert({result.neurons[i].block, result.neurons[i].index, result.neurons[i].lean > 0});
  EXPECT_EQ(first, (std::set<std::tuple<int, int64_t, bool>>{{1, 7, true}, {2, 3, false}}));
  EXPECT_GT(result.neurons[0].share, 0.9);
  EXPECT_THAT(result.token_dims, ElementsAre(5));
  EXPECT_GE(result.token_blocks, 1);
  EXPECT_LE(result.token_blocks, 2);
}

TEST_F(TinyScan, NeuronsMayStandInAnyOrder) {
  const ScanResult before = scan_it();
  const auto moved = [](size_t neuron) { return (neuron * 5 + 1) % 24; };
  std::vector<testing::TinyTensor> permuted = tensors_;
  for (int block = 0; block < 3; ++block) {
    const std::string mlp = "model.layers." + std::to_string(block) + ".mlp.";
    for (size_t neuron = 0; neuron < 24; ++neuron)
      for (size_t i = 0; i < 16; ++i) {
        for (const char* name : {"gate_proj.weight", "up_proj.weight"})
          at(permuted, mlp + name, moved(neuron), i) = at(tensors_, mlp + name, neuron, i);
        at(permuted, mlp + "down_proj.weight", i, moved(neuron)) = at(tensors_, mlp + "down_proj.weight", i, neuron);
      }
  }
  testing::write_tensors(folder_ / "tiny/model.safetensors", permuted);
  const ScanResult after = scan_it();
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(before.dimensions[i].dim, after.dimensions[i].dim);
    EXPECT_NEAR(before.dimensions[i].log10_expected, after.dimensions[i].log10_expected, 1e-9);
  }
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(before.neurons[i].block, after.neurons[i].block);
    EXPECT_EQ(static_cast<int64_t>(moved(static_cast<size_t>(before.neurons[i].index))), after.neurons[i].index);
    EXPECT_NEAR(before.neurons[i].bound, after.neurons[i].bound, 1e-9 * before.neurons[i].bound);
  }
}

TEST_F(TinyScan, DimensionsMayBeRenamed) {
  // Another dimension, another sign: nothing is known of either beforehand.
  for (const int block : {1, 2}) {
    const std::string name = "model.layers." + std::to_string(block) + ".mlp.down_proj.weight";
    for (size_t neuron = 0; neuron < 24; ++neuron) {
      std::swap(at(tensors_, name, 5, neuron), at(tensors_, name, 12, neuron));
      at(tensors_, name, 12, neuron) *= -1.0f;
    }
  }
  testing::write_tensors(folder_ / "tiny/model.safetensors", tensors_);
  const ScanResult result = scan_it();
  EXPECT_EQ(result.dimensions[0].dim, 12);
  EXPECT_EQ(result.dimensions[0].sign, -1);
}

TEST_F(TinyScan, TheVocabularyWalksAsPromptsOfOneToken) {
  const auto checkpoint = Checkpoint::open(folder_ / "tiny");
  const std::vector<int64_t> dims = {5, 2};
  double last = 0.0;
  const std::vector<float> first = walk_vocabulary(checkpoint->weights(), Walk::first, 2, dims, [&](double fraction) {
    EXPECT_GE(fraction, last);
    last = fraction;
  });
  const std::vector<float> inside = walk_vocabulary(checkpoint->weights(), Walk::inside, 2, dims, {});
  ASSERT_THAT(first, SizeIs(64 * 2));
  for (const int64_t id : {0, 17, 63}) {
    std::vector<float> expected(2);
    Hooks hooks;
    for (const int block : {0, 1})
      hooks.observe(HookPoint{Point::resid_post, block}.name(), [&](const Activation& a) {
        for (size_t i = 0; i < 2; ++i)
          if (std::abs(a.values.row(0)[dims[i]]) > std::abs(expected[i])) expected[i] = a.values.row(0)[dims[i]];
      });
    PassObserver none;
    // Later tokens of the prompt do not matter to the first one.
    run_model(checkpoint->weights(), batch_of({id, 3, 4}, {0, 3}), hooks, none);
    for (size_t i = 0; i < 2; ++i)
      EXPECT_NEAR(first[static_cast<size_t>(id) * 2 + i], expected[i], 1e-4 * (1.0f + std::abs(expected[i])));
  }
  EXPECT_NE(first, inside);
  // Without W_O there is no attention, and both walks are one.
  for (int block = 0; block < 3; ++block)
    for (size_t i = 0; i < 16; ++i)
      for (size_t k = 0; k < 16; ++k)
        at(tensors_, "model.layers." + std::to_string(block) + ".self_attn.o_proj.weight", i, k) = 0.0f;
  testing::write_tensors(folder_ / "tiny/model.safetensors", tensors_);
  const auto silent = Checkpoint::open(folder_ / "tiny");
  EXPECT_EQ(walk_vocabulary(silent->weights(), Walk::first, 2, dims, {}),
            walk_vocabulary(silent->weights(), Walk::inside, 2, dims, {}));
}

TEST_F(TinyScan, JudgesAgainstARun) {
  const ScanResult result = scan_it();
  Json spikes = {{"analysis", "spikes"},
                 {"applicable", true},
                 {"model", "tiny"},
                 {"windows", 3},
                 {"tokens", 30},
                 {"plateaus", {{{"dims", {5}}, {"values", {100.0}}}}},
                 {"writers_note", nullptr},
                 {"writers",
                  {{{"block", 1},
                    {"dim", 5},
                    {"mlp", 100.0},
                    {"effect", "writes"},
                    {"neurons", {{{"index", 7}, {"share", 0.9}}, {{"index", 8}, {"share", 0.02}}}}},
                   {{"block", 2},
                    {"dim", 5},
                    {"mlp", -90.0},
                    {"effect", "cancels"},
                    {"neurons", {{{"index", 3}, {"share", 0.9}}}}}}},
                 {"spikes", {{{"token", 0}, {"id", 9}, {"string", "I"}}, {{"token", 4}, {"id", 9}, {"string", "I"}}}}};
  const Json judged = judge(result, spikes, "spikes.json");
  EXPECT_EQ(judged["dims"]["count"], 1);
  EXPECT_EQ(judged["dims"]["leading_right"], 1);
  EXPECT_EQ(judged["dims"]["recall_at_n"], 1.0);
  EXPECT_EQ(judged["dims"]["found"][0]["sign_right"], true);
  EXPECT_EQ(judged["neurons"]["count"], 2);
  EXPECT_EQ(judged["neurons"]["recall_at_n"], 1.0);
  EXPECT_EQ(judged["neurons"]["average_precision"], 1.0);
  EXPECT_EQ(judged["neurons"]["directions_right"], 2);
  EXPECT_EQ(judged["inside"]["count"], 1);
  const auto rank = std::find_if(result.inside.tokens.begin(), result.inside.tokens.end(),
                                 [](const TokenReach& token) { return token.id == 9; }) -
                    result.inside.tokens.begin();
  EXPECT_EQ(judged["inside"]["found"][0]["rank"], rank + 1);
  // A dimension that no spike has, in place of the right one.
  spikes["plateaus"][0]["dims"] = {6};
  EXPECT_EQ(judge(result, spikes, "spikes.json")["dims"]["leading_right"], 0);
  spikes["plateaus"][0]["dims"] = {600};
  EXPECT_THAT(testing::error_of([&] { judge(result, spikes, "spikes.json"); }), ::testing::HasSubstr("another width"));
  EXPECT_THAT(testing::error_of([&] { judge(result, Json::object(), "spikes.json"); }),
              ::testing::HasSubstr("spikes.json"));
}

/// No neuron of a pass writes more than its bound.
class WritesOfAPass : public ::testing::TestWithParam<const char*> {};

TEST_P(WritesOfAPass, StayWithinTheirBounds) {
  const std::filesystem::path model = testing::golden_model(GetParam());
  if (!std::filesystem::exists(model)) GTEST_SKIP() << testing::no_fixtures_at(model);
  const auto checkpoint = Checkpoint::open(model);
  const Architecture& a = checkpoint->architecture();
  std::vector<BlockWrites> writes;
  std::vector<Weight> down;
  for (int block = 0; block < a.n_layers; ++block) {
    writes.push_back(block_writes(checkpoint->weights(), block));
    down.push_back(checkpoint->weights().read(Role::w_down, block));
  }
  int64_t compared = 0;
  Hooks hooks;
  hooks.observe("blocks.*.mlp.post", [&](const Activation& activation) {
    const auto block = static_cast<size_t>(activation.point.layer);
    for (size_t dim = 0; dim < writes[block].bounds.size(); ++dim)
      for (const NeuronWrite& neuron : writes[block].neurons[dim])
        for (int64_t row = 0; row < activation.values.rows(); ++row) {
          const double write =
              double{activation.values.row(row)[neuron.index]} *
              down[block].values[dim * static_cast<size_t>(down[block].columns) + static_cast<size_t>(neuron.index)];
          ASSERT_LE(std::abs(write), neuron.bound * (1 + 1e-5) + 1e-6) << "block " << block << " dim " << dim;
          ASSERT_LE(neuron.bound, writes[block].bounds[dim]);
          ++compared;
        }
  });
  TokenBatch batch;
  for (int64_t id = 0; id < a.vocabulary; ++id) batch.ids.push_back(id * 7 % a.vocabulary);
  for (int64_t start = 0; start < a.vocabulary; start += 16) batch.offsets.push_back(start);
  batch.offsets.push_back(a.vocabulary);
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);
  EXPECT_GT(compared, 100000);
}

INSTANTIATE_TEST_SUITE_P(All, WritesOfAPass,
                         ::testing::Values("llama", "gpt2_bare", "falcon", "falcon_new", "opt", "mpt", "gpt_neox",
                                           "qwen3", "stablelm", "phi3", "bloom"),
                         [](const auto& info) { return std::string(info.param); });

/// Golden models with a spike written by one neuron of block 0.
class PlantedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(PlantedModel, IsFound) {
  const std::filesystem::path folder = testing::shared_models() / GetParam();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << testing::no_fixtures_at(folder);
  const Json planted = read_json_file(folder / "meta.json").at("massive_activation");
  const ScanResult result = scan(*Checkpoint::open(folder), {.token_blocks = 0}, kSilent);
  EXPECT_EQ(result.dimensions[0].dim, planted.at("dim").get<int64_t>());
  EXPECT_LT(result.dimensions[0].log10_expected, result.dimensions[1].log10_expected - 1.0);
  EXPECT_EQ(result.dimensions[0].sign, planted.at("value").get<double>() > 0 ? 1 : -1);
  EXPECT_EQ(result.neurons[0].block, 0);
  EXPECT_EQ(result.neurons[0].index, planted.at("neuron").get<int64_t>());
}

INSTANTIATE_TEST_SUITE_P(All, PlantedModel,
                         ::testing::Values("llama", "mistral", "qwen2", "phi3", "gpt2", "gpt_neox", "gemma3_text",
                                           "vit", "dinov2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ScanOfGoldenModels, WithoutSpikesNothingLeads) {
  int models = 0;
  for (const auto& folder : std::filesystem::directory_iterator(testing::kept_models())) {
    if (!Checkpoint::towers(folder).empty()) continue;
    const std::string name = folder.path().filename().string();
    if (name == "gpt_neox" || name == "gemma3_text" || name == "phi3") continue;  // these have planted ones
    const ScanResult result = scan(*Checkpoint::open(folder), {.token_blocks = 1}, kSilent);
    if (name == "bert") {
      EXPECT_THAT(result.why_not, ::testing::HasSubstr("norm"));
      continue;
    }
    ++models;
    EXPECT_FALSE(result.dimensions[0].leading) << name << " " << result.dimensions[0].dim;
  }
  EXPECT_GE(models, 10);
}

TEST(ScanOfGoldenModels, ExpertsAreNamed) {
  const std::filesystem::path folder = testing::golden_model("mixtral");
  const ScanResult result = scan(*Checkpoint::open(folder), {}, kSilent);
  std::set<int> experts;
  for (const NeuronWrite& neuron : result.neurons) experts.insert(neuron.expert);
  EXPECT_GT(experts.size(), 1u);
  EXPECT_GE(*experts.begin(), 0);
  EXPECT_THAT(result.inside.tokens, SizeIs(288));
}

TEST(ScanOfSmolLM2, FindsDimensionWritersAndTokens) {
  SKIP_WITHOUT_SMOLLM2();
  const ScanResult result = scan(*Checkpoint::open(testing::smollm2_file()), {}, kSilent);
  ASSERT_EQ(result.dimensions[0].dim, 507);
  EXPECT_TRUE(result.dimensions[0].leading);
  EXPECT_FALSE(result.dimensions[1].leading);
  EXPECT_EQ(result.dimensions[0].sign, 1);
  std::map<std::pair<int, int64_t>, std::pair<size_t, double>> ranks;
  for (size_t i = 0; i < result.neurons.size(); ++i)
    ranks.try_emplace({result.neurons[i].block, result.neurons[i].index}, i, result.neurons[i].lean);
  for (const auto& [block, index, writes] :
       {std::tuple(11, int64_t{1229}, true), {11, 1487, true}, {28, 678, false}, {2, 430, true}, {9, 200, false}}) {
    const auto& [rank, lean] = ranks.at({block, index});
    EXPECT_LT(rank, 15u) << block << " " << index;
    EXPECT_EQ(lean > 0, writes) << block << " " << index;
  }
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  EXPECT_EQ(checkpoint->tokenizer().piece(result.inside.tokens[0].id), "Ġ");
  // At the first position any token will do; inside, few do.
  EXPECT_GT(result.first.medians[0], 5 * result.inside.medians[0]);
}

TEST(ScanOfGemma3, FindsBothDimensionsAndTheBos) {
  SKIP_WITHOUT_GEMMA3();
  const auto checkpoint = Checkpoint::open(testing::gemma3_file());
  const ScanResult result = scan(*checkpoint, {.token_blocks = 0}, kSilent);
  std::set<int64_t> leading;
  for (const DimensionScore& dimension : result.dimensions)
    if (dimension.leading) leading.insert(dimension.dim);
  EXPECT_EQ(leading, (std::set<int64_t>{163, 400}));
  std::set<std::pair<int, int64_t>> first;
  for (size_t i = 0; i < 20; ++i) first.insert({result.neurons[i].block, result.neurons[i].index});
  EXPECT_THAT(first, Contains(std::pair<int, int64_t>(0, 1405)));
  EXPECT_THAT(first, Contains(std::pair<int, int64_t>(5, 584)));
}

}  // namespace
}  // namespace spikescope
