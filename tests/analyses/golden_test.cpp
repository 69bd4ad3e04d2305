// Every analysis on every golden model: decoders of all kinds, encoders, experts, latent attention, images, towers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstring>
#include <set>

#include "analyses/run.h"
#include "analyses/sinks/maps.h"
#include "analyses/templates.h"
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

/// Captures what the request asks for on the golden prompts or images.
void capture_golden(const Checkpoint& checkpoint, const std::filesystem::path& model, CaptureRequest request,
                    const std::filesystem::path& out) {
  const Architecture& a = checkpoint.architecture();
  DumpTokens tokens;
  if (a.patches) {
    request.pixels = read_pixels(model / "golden.safetensors");
    tokens = image_prompts(a.patches, request.pixels, "golden");
  } else {
    tokens = golden_tokens(model);
  }
  DumpInfo info;
  info.model = model.string();
  info.model_name = model.filename().string();
  capture(checkpoint, tokens, info, request, out, {});
}

/// No number that is none in a text for people.
void expect_words(const std::string& text) {
  for (const char* word : {"nan", "inf"}) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      const auto letter = [&](size_t i) { return i < text.size() && std::isalpha(static_cast<unsigned char>(text[i])); };
      EXPECT_TRUE((at > 0 && letter(at - 1)) || letter(at + 3)) << text;
    }
  }
}

/// What a key says of its numbers, wherever it stands: shares are shares, cosines are cosines, counts are counts.
void expect_sense(const Json& json, const std::string& place, const std::string& key = "") {
  static const std::set<std::string> shares = {
      "sink_rate", "mean_alpha", "alpha", "mass", "latest_mass", "entropy", "positive", "template", "semantic", "random",
      "curve_template", "curve_semantic", "stable_energy_template", "stable_energy_semantic", "still_energy_template",
      "still_energy_semantic", "zone_share", "zone_share_semantic", "zone_pairs", "spike_attention",
      "false_positive_rate"};
  static const std::set<std::string> cosines = {"cos_template", "cos_other", "cos_input", "cosine", "bias_cosine",
                                                "bias_cosine_biased", "across_layers", "inside_to_first",
                                                "coherence_stable", "coherence_unstable", "spike_mass_correlation"};
  static const std::set<std::string> lengths = {"deviation", "cv", "key_norm_ratio", "contrast", "drain", "median",
                                                "max", "ratio", "bias_ratio", "sigma_template", "sigma_semantic",
                                                "seconds", "set_size"};
  constexpr double kRounding = 1e-6;
  if (json.is_object()) {
    for (const auto& [name, value] : json.items()) expect_sense(value, place + "." + name, name);
  } else if (json.is_array()) {
    for (const Json& value : json) expect_sense(value, place, key);
  } else if (json.is_string()) {
    // Pieces of the vocabulary may be any text.
    if (key != "string") expect_words(json.get<std::string>());
  } else if (json.is_number()) {
    const double value = json;
    EXPECT_TRUE(std::isfinite(value)) << place;
    if (json.is_number_integer()) {
      EXPECT_GE(value, 0.0) << place << ": indices and counts";
    }
    const bool error = key.ends_with("_se");
    if (shares.contains(key) || lengths.contains(key) || error) {
      EXPECT_GE(value, -kRounding) << place;
    }
    if (shares.contains(key)) {
      EXPECT_LE(value, 1.0 + kRounding) << place;
    }
    if (cosines.contains(key)) {
      EXPECT_LE(std::abs(value), 1.0 + kRounding) << place;
    }
  }
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
    capture_golden(*checkpoint, model, request, folder.path());
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
      expect_sense(result.results, std::string(name));
      expect_words(result.section.summary);
      for (const Figure& figure : result.section.figures) expect_words(figure.caption);
      for (const Table& table : result.section.tables) {
        expect_words(table.caption);
        for (const auto& row : table.rows)
          for (const std::string& cell : row) expect_words(cell);
      }
    }
  }
}

/// Logits and probabilities of the sinks' maps are those of the forward pass, whatever the positions, caps and norms.
TEST_P(GoldenAnalyses, AttentionMapsAreThoseOfThePass) {
  const std::filesystem::path model = testing::golden_model(GetParam());
  std::vector<std::string> towers = Checkpoint::towers(model);
  if (towers.empty()) towers = {""};
  for (const std::string& tower : towers) {
    SCOPED_TRACE(tower);
    const TemporaryFolder folder;
    const auto checkpoint = Checkpoint::open(model, "", tower);
    CaptureRequest request;
    request.points_if_any = {"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.ln1.out", "blocks.*.attn.scores",
                             "blocks.*.attn.pattern"};
    capture_golden(*checkpoint, model, request, folder.path());
    const DumpReader dump(folder.path());
    SharedScan scan(dump);
    const AnalysisInput input{dump, scan, [&]() -> const ModelWeights& { return checkpoint->weights(); }, {}};
    EXPECT_EQ(why_no_projections(input), "");
    const int64_t length = dump.tokens().length(0);
    for (int layer = 0; layer < dump.n_layers(); ++layer) {
      SCOPED_TRACE(layer);
      const AttentionMap map = attention_map(input, layer);
      ASSERT_EQ(map.tokens, std::min(length, kMapTokens));
      const auto expect_mean = [&](Point point, const std::vector<double>& found) {
        const std::vector<float> squares = dump.read({point, layer}, 0, 1);
        const int64_t heads = static_cast<int64_t>(squares.size()) / (length * length);
        for (int64_t query = 0; query < map.tokens; ++query) {
          for (int64_t key = 0; key < map.tokens; ++key) {
            double mean = 0.0;
            for (int64_t head = 0; head < heads; ++head)
              mean += squares[static_cast<size_t>((head * length + query) * length + key)] / static_cast<double>(heads);
            const double value = found[static_cast<size_t>(query * map.tokens + key)];
            if (std::isnan(value)) {
              EXPECT_TRUE(point == Point::scores ? std::isinf(mean) : mean == 0.0) << query << ", " << key;
            } else {
              EXPECT_NEAR(value, mean, 1e-4 * std::max(1.0, std::abs(mean))) << query << ", " << key;
            }
          }
        }
      };
      expect_mean(Point::scores, map.logits);
      expect_mean(Point::pattern, map.pattern);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenAnalyses, ::testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace spikescope
