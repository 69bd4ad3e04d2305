// Every analysis on every golden model: decoders of all kinds, encoders, experts, latent attention, images, towers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "analyses/run.h"
#include "capture/capture.h"
#include "capture/images.h"
#include "families/checkpoint.h"
#include "figure/figure.h"
#include "fixtures.h"
#include "io/safetensors.h"

namespace spikescope {
namespace {

using testing::TemporaryFolder;

/// The golden prompt, whole, and again backwards where order is the tokens' own.
DumpTokens golden_tokens(const std::filesystem::path& model) {
  const SafetensorsFile golden = read_safetensors(model / "golden.safetensors");
  const TensorInfo& input = golden.tensors.require("input_ids");
  std::vector<int64_t> ids(input.bytes.size() / sizeof(int64_t));
  std::memcpy(ids.data(), input.bytes.data(), input.bytes.size());
  DumpTokens tokens;
  tokens.ids = ids;
  tokens.ids.insert(tokens.ids.end(), ids.rbegin(), ids.rend());
  const auto length = static_cast<int64_t>(ids.size());
  tokens.offsets = {0, length, 2 * length};
  tokens.strings.resize(tokens.ids.size());
  tokens.prompts = {{{"source", "golden"}}, {{"source", "golden, backwards"}}};
  return tokens;
}

std::vector<std::string> golden_names() {
  std::set<std::string> names;
  for (const auto& folder : {testing::kept_models(), testing::shared_models()}) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) names.insert(entry.path().filename());
  }
  return {names.begin(), names.end()};
}

class GoldenAnalyses : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenAnalyses, GiveResultsOrSayWhyNot) {
  const std::filesystem::path model = testing::golden_model(GetParam());
  std::vector<std::string> towers = Checkpoint::towers(model);
  if (towers.empty()) towers = {""};
  for (const std::string& tower : towers) {
    SCOPED_TRACE(tower);
    const TemporaryFolder folder;
    const auto checkpoint = Checkpoint::open(model, "", tower);
    const Architecture& a = checkpoint->architecture();
    std::vector<const Analysis*> chosen;
    for (const Analysis& analysis : analyses()) chosen.push_back(&analysis);
    const Needs needs = combined_needs(chosen);
    CaptureRequest request;
    request.points_if_any = needs.points;
    request.sinks = needs.sinks;
    request.writers = needs.writers;
    DumpTokens tokens;
    if (a.patches) {
      request.pixels = read_pixels(model / "golden.safetensors");
      tokens = image_prompts(a.patches, request.pixels, "golden");
    } else {
      tokens = golden_tokens(model);
    }
    DumpInfo info;
    info.model = model.string();
    info.model_name = GetParam();
    capture(*checkpoint, tokens, info, request, folder.path(), {});
    run_analyses(folder.path(), chosen, [&]() -> const ModelWeights& { return checkpoint->weights(); }, {});
    const auto loaded = load_results(folder.path());
    ASSERT_EQ(loaded.size(), chosen.size());
    for (const AnalysisResult& result : loaded) {
      SCOPED_TRACE(result.analysis->name);
      const bool applicable = result.results.at("applicable");
      const std::string_view name = result.analysis->name;
      EXPECT_EQ(applicable, name != "rope_bands" || !a.ropes.empty());
      EXPECT_FALSE(result.section.summary.empty());
      for (const Figure& figure : result.section.figures) EXPECT_NO_THROW(check_figure(figure));
      // Cosines are cosines, shares are shares.
      for (const Json& layer : result.results.value("layers", Json::array())) {
        for (const char* key :
             {"cos_template", "cos_other", "cos_input", "stable_energy_template", "stable_energy_semantic",
              "coherence_stable", "coherence_unstable", "zone_share", "zone_pairs"}) {
          if (layer.contains(key) && layer.at(key).is_number()) {
            EXPECT_LE(std::abs(layer.at(key).get<double>()), 1.0 + 1e-9);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenAnalyses, ::testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace spikescope
