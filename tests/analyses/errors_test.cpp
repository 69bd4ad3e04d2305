// Standard errors: every mean over windows has one, it shrinks with the number of windows, and it is what the windows'
// own values say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "analyses/run.h"
#include "analyses/templates.h"
#include "capture/capture.h"
#include "families/checkpoint.h"
#include "fixtures.h"
#include "intervene/intervene.h"
#include "io/hdf5.h"
#include "stats/jackknife.h"
#include "stats/moments.h"
#include "stats/spectrum.h"
#include "tiny_model.h"

namespace spikescope {
namespace {

/// Keys of docs/results.md that are means (or other statistics) over windows. A number, an array or a matrix under one
/// of them has its errors beside it.
const std::map<std::string, std::set<std::string>> kMeans = {
    {"spikes", {"value", "values", "mlp", "attention", "share"}},
    {"sinks",
     {"sink_rate", "mean_alpha", "spike_mass_correlation", "mass", "latest_mass", "entropy", "bias_ratio",
      "bias_cosine", "bias_cosine_biased", "set_size", "alpha"}},
    {"convergence", {"cosine", "deviation", "cv", "inside_to_first", "across_layers"}},
    {"alignment",
     {"cos_template", "cos_other", "positive", "logit_gap", "z", "spike_dim_share", "cos_input", "key_norm_ratio",
      "contrast", "v_gain_template", "v_gain_semantic", "drain", "drain_norm_factor", "drain_gain_factor"}},
    {"null_space", {"template", "semantic", "curve_template", "curve_semantic"}},
    {"rope_bands",
     {"stable_energy_template", "stable_energy_semantic", "still_energy_template", "still_energy_semantic",
      "coherence_stable", "coherence_unstable", "zone_share", "zone_share_semantic", "zone_pairs", "zone_logit_share",
      "sigma_template", "sigma_semantic", "sigma_equal_length", "logit_template", "logit_template_mean",
      "logit_template_unturned", "logit_semantic", "logit_semantic_mean", "logit_semantic_unturned"}},
    {"interventions",
     {"perplexity", "loss_position0", "loss_without_position0", "sinks", "mean_alpha", "alpha", "spike_attention",
      "difference", "value"}}};

/// The errors found, by key.
using Found = std::map<std::string, Moments>;

void expect_errors(const Json& value, const Json& error, const std::string& place, Moments& found) {
  if (value.is_array()) {
    ASSERT_TRUE(error.is_array() && error.size() == value.size()) << place;
    for (size_t i = 0; i < value.size(); ++i) expect_errors(value[i], error[i], place, found);
    return;
  }
  if (error.is_null()) return;
  ASSERT_TRUE(error.is_number()) << place << " " << error;
  EXPECT_GE(error.get<double>(), 0.0) << place;
  EXPECT_FALSE(value.is_null()) << place << ": an error of nothing";
  found.add(error);
}

/// Demands an error beside each of the keys, wherever it stands.
void walk(const Json& json, const std::set<std::string>& keys, const std::string& place, Found& found) {
  if (json.is_array()) {
    for (const Json& one : json) walk(one, keys, place + "[]", found);
    return;
  }
  if (!json.is_object()) return;
  // Entries of single tokens and spikes are no means.
  if (json.contains("prompt")) return;
  for (const auto& [key, value] : json.items()) {
    const std::string here = place + "." + key;
    if (keys.contains(key) && !value.is_string() && !value.is_object() && !(key == "sinks" && value.is_array())) {
      ASSERT_TRUE(json.contains(key + "_se")) << here;
      expect_errors(value, json.at(key + "_se"), here, found[key]);
    } else {
      walk(value, keys, here, found);
    }
  }
}

/// All analyses and interventions of the tiny model, in which the tokens 33 to 35 are spikes, on random windows: each
/// begins with one of them, and half have another one inside.
class Errors : public ::testing::Test {
 protected:
  static constexpr int64_t kLength = 40;

  void run(int64_t windows) {
    testing::write_tiny_model(folder_ / "model");
    auto tensors = testing::tiny_tensors();
    for (const auto& [token, value] : {std::pair(33, 400.0f), {34, 300.0f}, {35, 350.0f}})
      tensors[0].values[static_cast<size_t>(token * 16 + 5)] = value;
    // The first neuron of block 0 reads dimension 5 alone, and adds to it.
    for (auto& tensor : tensors) {
      if (tensor.name == "model.layers.0.mlp.gate_proj.weight" || tensor.name == "model.layers.0.mlp.up_proj.weight")
        for (size_t dim = 0; dim < 16; ++dim) tensor.values[dim] = dim == 5 ? 1.0f : 0.0f;
      if (tensor.name == "model.layers.0.mlp.down_proj.weight") tensor.values[5 * 24] = 3.0f;
    }
    testing::write_tensors(folder_ / "model/model.safetensors", tensors);
    checkpoint_ = Checkpoint::open(folder_ / "model");
    std::mt19937 random(5);
    DumpTokens tokens;
    tokens.offsets = {0};
    for (int64_t window = 0; window < windows; ++window) {
      for (int64_t t = 0; t < kLength; ++t) {
        const bool spike = t == 0 || (t == 9 && random() % 2 == 0);
        tokens.ids.push_back(spike ? 33 + random() % 3 : random() % 31);
      }
      tokens.offsets.push_back(tokens.size());
      tokens.prompts.push_back({{"source", "test"}});
    }
    tokens.strings.resize(tokens.ids.size());
    DumpInfo info;
    info.model = (folder_ / "model").string();
    info.model_name = "tiny";
    std::vector<const Analysis*> chosen;
    for (const Analysis& analysis : analyses()) chosen.push_back(&analysis);
    const Needs needs = combined_needs(chosen);
    CaptureRequest request;
    request.points_if_any = needs.points;
    request.sinks = needs.sinks;
    request.writers = needs.writers;
    capture(*checkpoint_, tokens, info, request, out(), {});
    run_analyses(out(), chosen, [&]() -> const ModelWeights& { return checkpoint_->weights(); }, {});
    H5File arrays = H5File::create(folder_ / "interventions.h5");
    interventions_ = run_interventions(*checkpoint_, DumpReader(out()), {}, arrays, [](double, const std::string&) {});
  }
  std::filesystem::path out() const { return folder_ / "out"; }
  Json results(const std::string& name) const {
    return name == "interventions" ? interventions_ : read_json_file(out() / ("results/" + name + ".json"));
  }
  std::map<std::string, Found> all_errors() const {
    std::map<std::string, Found> all;
    for (const auto& [name, keys] : kMeans) walk(results(name), keys, name, all[name]);
    return all;
  }

  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  Json interventions_;
};

TEST_F(Errors, StandBesideEveryMeanAndShrink) {
  run(12);
  const auto few = all_errors();
  run(48);
  const auto many = all_errors();
  // Shares of heads or pairs beyond a threshold jump; medians of a few values, and so their errors, are steps; the mean
  // that cv is divided by is near 0 in a random model.
  const std::set<std::string> steps = {
      "sink_rate", "sinks",  "zone_pairs", "zone_share", "zone_share_semantic",   "zone_logit_share",
      "value",     "values", "cv",         "positive",   "spike_mass_correlation"};
  for (const auto& [name, keys] : kMeans) {
    for (const std::string& key : keys) {
      SCOPED_TRACE(name + " " + key);
      ASSERT_TRUE(few.at(name).contains(key)) << "the results have no such key";
      const double before = few.at(name).at(key).mean(), after = many.at(name).at(key).mean();
      if (steps.contains(key) || !(before > 1e-9)) continue;
      // Half of it, as windows are four times as many; the error of an error of 12 windows is a fifth of it.
      EXPECT_GT(after, 0.25 * before);
      EXPECT_LT(after, 0.8 * before);
    }
  }
}

TEST_F(Errors, AreUndefinedForOneWindow) {
  run(1);
  for (const auto& [name, keys] : all_errors())
    for (const auto& [key, errors] : keys) EXPECT_EQ(errors.count(), 0) << name << " " << key;
}

TEST_F(Errors, AreThoseOfTheWindowsOwnValues) {
  constexpr int64_t kWindows = 6;
  run(kWindows);
  const DumpReader dump(out());
  SharedScan scan(dump);
  const AnalysisInput input{dump, scan, [&]() -> const ModelWeights& { return checkpoint_->weights(); }, {}};

  // Attention on the first token, window by window.
  const SinkStatistics sinks = dump.sinks(1);
  Moments alpha;
  for (int64_t window = 0; window < kWindows; ++window) {
    Moments heads;
    for (int64_t head = 0; head < sinks.heads; ++head)
      heads.add(sinks.column_sums[static_cast<size_t>(head * dump.tokens().size() + window * kLength)] /
                (kLength - 1.0));
    alpha.add(heads.mean());
  }
  const Json layer = results("sinks")["layers"][1];
  EXPECT_NEAR(layer["mean_alpha"].get<double>(), alpha.mean(), 1e-9);
  EXPECT_NEAR(layer["mean_alpha_se"].get<double>(), alpha.standard_error(), 1e-9);

  // The template without one window each, through the spectrum.
  const Templates templates(input, {});
  const TokenVectors spikes = read_vectors(dump, templates.inputs().attention(1), template_tokens(templates.sets()[1]));
  const Weight w_v = checkpoint_->weights().read(Role::w_v, 1);
  const Spectrum spectrum(w_v.values, w_v.rows, w_v.columns);
  const auto without = [&](int64_t left_out) {
    std::vector<double> mean(16);
    double count = 0.0;
    for (int64_t window = 0; window < kWindows; ++window) {
      if (window == left_out) continue;
      for (int64_t i = spikes.offsets[static_cast<size_t>(window)]; i < spikes.offsets[static_cast<size_t>(window) + 1];
           ++i, ++count)
        for (size_t k = 0; k < mean.size(); ++k) mean[k] += spikes[i][k];
    }
    std::vector<float> vector;
    for (const double value : mean) vector.push_back(static_cast<float>(value / count));
    return spectrum.energy(vector)[static_cast<size_t>(spectrum.leading(0.9) - 1)];
  };
  std::vector<double> left_out;
  for (int64_t window = 0; window < kWindows; ++window) left_out.push_back(without(window));
  const Json matrix = results("null_space")["layers"][1]["matrices"]["W_V"];
  EXPECT_NEAR(matrix["template"].get<double>(), without(-1), 1e-6);
  EXPECT_NEAR(matrix["template_se"].get<double>(), jackknife_error(left_out), 1e-6);

  // The perplexity's interval from the losses, and attention on spikes in the baseline from the sinks analysis.
  const Json& baseline = interventions_["baseline"];
  const double loss = baseline["loss"], error = baseline["se"];
  EXPECT_NEAR(baseline["perplexity_se"].get<double>(), std::exp(loss) * error, 1e-9 * std::exp(loss));
  EXPECT_NEAR(std::log(baseline["perplexity_interval"][1].get<double>()), loss + 1.96 * error, 1e-9);
  EXPECT_NEAR(baseline["spike_attention_se"][1].get<double>(), layer["latest_mass_se"].get<double>(), 1e-6);
  EXPECT_NEAR(baseline["mean_alpha_se"].get<double>(), results("sinks")["mean_alpha_se"].get<double>(), 1e-6);
}

}  // namespace
}  // namespace spikescope
