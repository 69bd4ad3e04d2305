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
  Fixture(const std::string& model, const std::string& config)
      : source_(testing::shared_folder() / "fixtures/models" / model) {
    for (const auto& entry : fs::directory_iterator(source_))
      if (!entry.path().filename().string().starts_with("config"))
        fs::create_symlink(entry.path(), folder_ / entry.path().filename().string());
    fs::create_symlink(source_ / config, folder_ / "config.json");
    golden_ = read_safetensors(source_ / "golden.safetensors");
    meta_ = read_json_file(source_ / "meta.json");
  }
  const fs::path& path() const { return folder_.path(); }
  const TensorTable& golden() const { return golden_.tensors; }
  double tolerance(const std::string& name) const { return meta_.at("tolerances").at(name).at("atol").get<double>(); }

 private:
  fs::path source_;
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

class GoldenImages : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(GoldenImages, EveryRecordedTensor) {
  const auto& [model, config] = GetParam();
  SKIP_WITHOUT_SHARED("fixtures/models/" + model);
  const Fixture fixture(model, config);
  const auto checkpoint = Checkpoint::open(fixture.path());
  for (const std::string& unused : checkpoint->unused_tensors()) EXPECT_TRUE(unused.ends_with("mask_token")) << unused;
  const Architecture& a = checkpoint->architecture();
  const Recorder recorder = run_tower(*checkpoint, batch_of(fixture.golden(), a));
  const int compared = testing::compare_with_golden(fixture.golden(), a, recorder, true,
                                                    [&](const std::string& name) { return fixture.tolerance(name); });
  EXPECT_EQ(compared, static_cast<int>(fixture.golden().tensors().size()) - 1 - a.n_layers)
      << "all but pixel_values and the masks";
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenImages,
                         ::testing::ValuesIn([] {
                           std::vector<std::pair<std::string, std::string>> all;
                           for (const char* model : {"vit", "deit", "dinov2", "dinov2_interp", "dinov2_with_registers",
                                                     "dinov2_with_registers_interp"})
                             for (const char* config : {"config.json", "config_legacy.json"})
                               all.emplace_back(model, config);
                           return all;
                         }()),
                         [](const auto& info) {
                           return info.param.first + (info.param.second == "config.json" ? "" : "_legacy");
                         });

class GoldenTowers : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTowers, EveryRecordedTensor) {
  SKIP_WITHOUT_SHARED("fixtures/models/" + GetParam());
  const Fixture fixture(GetParam(), "config.json");
  ASSERT_EQ(Checkpoint::towers(fixture.path()), (std::vector<std::string>{"text", "vision"}));
  int compared = 0, masks = 0;
  std::map<std::string, std::vector<float>> embeds;
  std::unique_ptr<Checkpoint> checkpoint;
  for (const std::string tower : {"vision", "text"}) {
    checkpoint = Checkpoint::open(fixture.path(), "", tower);
    EXPECT_TRUE(checkpoint->unused_tensors().empty());
    const Architecture& a = checkpoint->architecture();
    const Recorder recorder = run_tower(*checkpoint, batch_of(fixture.golden(), a));
    compared += testing::compare_with_golden(
        without_prefix(fixture.golden(), tower + "."), a, recorder, true,
        [&](const std::string& name) { return fixture.tolerance(tower + "." + name); });
    masks += static_cast<int>(a.n_layers);
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
  EXPECT_EQ(compared, static_cast<int>(fixture.golden().tensors().size()) - 2 - masks)
      << "all but input_ids, pixel_values and the masks";
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTowers, ::testing::Values("clip", "siglip"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace spikescope
