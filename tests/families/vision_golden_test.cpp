// Parity with transformers on images and on models with two towers: every recorded tensor, at the tolerances that
// meta.json states.

#include <set>

#include "../golden.h"
#include "families/checkpoint.h"
#include "io/json.h"
#include "model/patch_embedding.h"
#include "model/pooled_head.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using testing::Recorder;

/// What a fixture's tower is fed with.
TokenBatch batch_of(const TensorTable& golden, const Architecture& a) {
  TokenBatch batch;
  if (!a.patches) {
    batch.ids = testing::raw_values<int64_t>(golden.require("input_ids"));
  } else {
    const TensorInfo& pixels = golden.require("pixel_values");
    batch.pixels = {1, pixels.shape[0], pixels.shape[1], read_tensor(pixels)};
    batch.ids.resize(static_cast<size_t>(image_tokens(a.patches, batch.pixels.side)));
  }
  batch.offsets = {0, static_cast<int64_t>(batch.ids.size())};
  return batch;
}

/// A fixture's folder with the config of the given name.
class Fixture {
 public:
  Fixture(const fs::path& source, const std::string& config) {
    for (const auto& entry : fs::directory_iterator(source))
      if (!entry.path().filename().string().starts_with("config"))
        fs::create_symlink(entry.path(), folder_ / entry.path().filename().string());
    fs::create_symlink(source / config, folder_ / "config.json");
    golden_ = read_safetensors(source / "golden.safetensors");
    meta_ = read_json_file(source / "meta.json");
  }
  const fs::path& path() const { return folder_.path(); }
  const TensorTable& golden() const { return golden_.tensors; }
  double tolerance(const std::string& name) const { return meta_.at("tolerances").at(name).at("atol").get<double>(); }
  /// Golden tensors that are neither inputs nor masks.
  int outputs() const {
    return static_cast<int>(std::count_if(golden().tensors().begin(), golden().tensors().end(), [](const auto& tensor) {
      return tensor.name != "input_ids" && tensor.name != "pixel_values" && !tensor.name.ends_with(".mask");
    }));
  }

 private:
  testing::TemporaryFolder folder_;
  SafetensorsFile golden_;
  Json meta_;
};

/// The golden tensors whose names begin with `prefix`, without it.
TensorTable without_prefix(const TensorTable& golden, const std::string& prefix) {
  TensorTable own;
  for (TensorInfo tensor : golden.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    tensor.name = tensor.name.substr(prefix.size());
    own.add(std::move(tensor));
  }
  return own;
}

Recorder run_tower(const Checkpoint& checkpoint, const TokenBatch& batch) {
  Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("*", recorder.observer());
  PassObserver none;
  run_model(checkpoint.weights(), batch, hooks, none);
  return recorder;
}

using Case = std::pair<fs::path, std::string>;  // a fixture's folder, and the config to read

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  return info.param.first.filename().string() + (info.param.second == "config.json" ? "" : "_legacy");
}

std::vector<Case> cases(const fs::path& folder, std::initializer_list<const char*> models) {
  std::vector<Case> all;
  for (const char* model : models)
    for (const char* config : {"config.json", "config_legacy.json"}) all.emplace_back(folder / model, config);
  return all;
}

class GoldenImages : public ::testing::TestWithParam<Case> {};

TEST_P(GoldenImages, EveryRecordedTensor) {
  const auto& [folder, config] = GetParam();
  if (!fs::exists(folder)) GTEST_SKIP() << testing::no_fixtures_at(folder);
  const Fixture fixture(folder, config);
  const auto checkpoint = Checkpoint::open(fixture.path());
  for (const std::string& unused : checkpoint->unused_tensors()) EXPECT_TRUE(unused.ends_with("mask_token")) << unused;
  const Architecture& a = checkpoint->architecture();
  const Recorder recorder = run_tower(*checkpoint, batch_of(fixture.golden(), a));
  const int compared = testing::compare_with_golden(fixture.golden(), a, recorder, true,
                                                    [&](const std::string& name) { return fixture.tolerance(name); });
  EXPECT_EQ(compared, fixture.outputs());
}

INSTANTIATE_TEST_SUITE_P(Kept, GoldenImages,
                         ::testing::ValuesIn(cases(testing::kept_models(), {"dinov2_with_registers_interp"})), name_of);
INSTANTIATE_TEST_SUITE_P(Shared, GoldenImages,
                         ::testing::ValuesIn(cases(testing::shared_models(),
                                                   {"vit", "deit", "dinov2", "dinov2_interp", "dinov2_with_registers",
                                                    "dinov2_with_registers_interp"})),
                         name_of);

class GoldenTowers : public ::testing::TestWithParam<Case> {};

TEST_P(GoldenTowers, EveryRecordedTensor) {
  const auto& [folder, config] = GetParam();
  if (!fs::exists(folder)) GTEST_SKIP() << testing::no_fixtures_at(folder);
  const Fixture fixture(folder, config);
  ASSERT_EQ(Checkpoint::towers(fixture.path()), (std::vector<std::string>{"text", "vision"}));
  int compared = 0;
  std::map<std::string, std::vector<float>> embeds;
  std::unique_ptr<Checkpoint> checkpoint;
  for (const std::string tower : {"vision", "text"}) {
    checkpoint = Checkpoint::open(fixture.path(), "", tower);
    EXPECT_TRUE(checkpoint->unused_tensors().empty());
    const Architecture& a = checkpoint->architecture();
    const Recorder recorder = run_tower(*checkpoint, batch_of(fixture.golden(), a));
    compared +=
        testing::compare_with_golden(without_prefix(fixture.golden(), tower + "."), a, recorder, true,
                                     [&](const std::string& name) { return fixture.tolerance(tower + "." + name); });
    embeds[tower] = recorder.at("embeds").values;
  }
  const Contrast both = contrast(checkpoint->weights(), embeds["text"], embeds["vision"]);
  const std::pair<std::string, const std::vector<float>&> joint[] = {
      {"text_embeds", both.text_embeds},
      {"image_embeds", both.image_embeds},
      {"logits_per_image", both.logits_per_image},
  };
  for (const auto& [name, values] : joint) {
    const std::vector<float> expected = read_tensor(fixture.golden().require(name));
    ASSERT_EQ(expected.size(), values.size()) << name;
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(values[i], expected[i], fixture.tolerance(name)) << name << " at " << i;
    ++compared;
  }
  EXPECT_EQ(compared, fixture.outputs());
}

INSTANTIATE_TEST_SUITE_P(Kept, GoldenTowers, ::testing::Values(Case(testing::kept_models() / "clip", "config.json")),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Shared, GoldenTowers,
                         ::testing::Values(Case(testing::shared_models() / "clip", "config.json"),
                                           Case(testing::shared_models() / "siglip", "config.json")),
                         name_of);

}  // namespace
}  // namespace spikescope
