// Calibration and InsertQuant on a model whose spike is planted in its weights (tests/planted_model.h).

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <optional>
#include <random>

#include "../error_of.h"
#include "../golden.h"
#include "../planted_model.h"
#include "families/checkpoint.h"
#include "io/output_file.h"
#include "quant/activation_losses.h"
#include "quant/calibrate.h"
#include "quant/prefix.h"
#include "quant/template_file.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Windows of random tokens of the tiny vocabulary; the spike token stands first in each, and once inside the last.
TokenBatch windows(int count, int length, unsigned seed) {
  std::mt19937 random(seed);
  TokenBatch batch;
  batch.offsets = {0};
  for (int window = 0; window < count; ++window) {
    for (int token = 0; token < length; ++token)
      batch.ids.push_back(token == 0 ? testing::kSpikeToken : static_cast<int64_t>(2 + random() % 62));
    batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
  }
  batch.ids[batch.ids.size() - 5] = testing::kSpikeToken;
  return batch;
}

/// The same as windows of a text.
TextWindows text_windows(int count, int length, unsigned seed) {
  TextWindows text;
  text.length = length;
  text.ids = windows(count, length, seed).ids;
  text.bytes.assign(static_cast<size_t>(count), length - 1);
  return text;
}

class InsertQuant : public ::testing::Test {
 protected:
  std::unique_ptr<Checkpoint> open(float cancelled) {
    testing::write_planted_model(folder_ / "model", cancelled);
    return Checkpoint::open(folder_ / "model");
  }
  SpikeTemplates calibrated(const Checkpoint& checkpoint) {
    return calibrated(checkpoint, windows(6, 40, 1), {.rotation = RotationKind::hadamard});
  }
  SpikeTemplates calibrated(const Checkpoint& checkpoint, const TokenBatch& batch,
                            const CalibrationSettings& settings) {
    CalibrationInfo info;
    info.model_sha256 = checkpoint.sha256();
    return calibrate(checkpoint.weights(), batch, info, settings, [](double, const std::string&) {});
  }
  /// What a pass shows at a point, with the plan's quantizers or as it is: [rows * 16].
  std::vector<float> values_at(const std::string& point, const Checkpoint& checkpoint, const TokenBatch& batch,
                               const SpikeTemplates* templates = nullptr, const ActivationPlan& plan = {}) {
    testing::Recorder recorder(batch);
    Hooks hooks;
    std::optional<SimulatedActivations> activations;
    if (templates) activations.emplace(checkpoint.architecture(), *templates, plan).attach(hooks, batch);
    hooks.observe(point, recorder.observer());
    PassObserver none;
    run_model(checkpoint.weights(), batch, hooks, none);
    return recorder.at(point).values;
  }
  LossesOfPass run(const LossComparison& comparison, const Checkpoint& checkpoint, const SpikeTemplates& templates,
                   ActivationPlan plan) {
    const SimulatedActivations activations(checkpoint.architecture(), templates, std::move(plan));
    return comparison.run(checkpoint.weights(), &activations, [](double) {});
  }

  testing::TemporaryFolder folder_;
};

TEST_F(InsertQuant, CalibrationFindsTheSpikeAndTakesMeansOverIt) {
  const auto checkpoint = open(1.0f);
  const SpikeTemplates templates = calibrated(*checkpoint);
  ASSERT_EQ(templates.sets.size(), 1u) << why_not_applicable(templates);
  const TemplateSet& set = templates.sets[0];
  EXPECT_EQ(set.course.birth, 0);
  EXPECT_EQ(set.tokens, 7);
  EXPECT_THAT(set.course.dims, ElementsAre(testing::kSpikeDim));
  EXPECT_THAT(set.course.cancelling, ElementsAre(2));
  EXPECT_EQ(set.course.last, 2);
  EXPECT_FALSE(set.course.reaches_end);
  EXPECT_NEAR(set.course.height, 6400.0, 200.0);
  EXPECT_THAT(set.final_out, IsEmpty());
  EXPECT_LT(set.deviation, 0.1);

  // The same means from recorded values.
  const TokenBatch batch = windows(6, 40, 1);
  testing::Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("*", recorder.observer());
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);
  const auto mean = [&](const std::string& point) {
    const std::vector<float>& values = recorder.at(point).values;
    std::vector<double> sums(16);
    for (size_t token = 0; token < batch.ids.size(); ++token)
      for (size_t i = 0; i < 16 && batch.ids[token] == testing::kSpikeToken; ++i)
        sums[i] += values[token * 16 + i] / 7.0;
    return sums;
  };
  for (int layer = 1; layer <= 2; ++layer)
    for (const auto& [site, point] : {std::pair(Site::attn_in, ".ln1.out"), {Site::mlp_in, ".ln2.out"}}) {
      const std::vector<double> expected = mean("blocks." + std::to_string(layer) + point);
      const auto found = set.at(site, layer, 16);
      ASSERT_EQ(found.size(), 16u);
      for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(found[i], expected[i], 1e-5);
    }
  EXPECT_TRUE(set.at(Site::attn_in, 0, 16).empty());
  EXPECT_TRUE(set.at(Site::attn_in, 3, 16).empty());
  const std::vector<double> born = mean("blocks.0.mlp_out"), gone = mean("blocks.2.mlp_out");
  for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(set.residual[i], born[i] + gone[i], 2e-3);

  // Ranges of ordinary tokens leave spike tokens out.
  EXPECT_GT(templates.range(Population::all, Site::down_in, 0)[RangeKey::absmax], 6000.0f);
  EXPECT_LT(templates.range(Population::ordinary, Site::down_in, 0)[RangeKey::absmax], 100.0f);
  EXPECT_EQ(templates.range(Population::ordinary, Site::down_in, 0)[RangeKey::rows], 6 * 40 - 7);
  EXPECT_EQ(templates.range(Population::ordinary, Site::o_in, 1)[RangeKey::rows], 6 * 40 - 7);
  EXPECT_EQ(templates.range(Population::ordinary, Site::attn_in, 3)[RangeKey::rows], 6 * 40 - 7);
  float largest = 0.0f;
  for (const float value : recorder.at("blocks.1.attn.z").values) largest = std::max(largest, std::abs(value));
  // Attention that shows its patterns adds in another order.
  EXPECT_NEAR(templates.range(Population::all, Site::o_in, 1)[RangeKey::absmax], largest, 1e-5 * largest);
}

TEST_F(InsertQuant, ChannelsAreBalancedByOrdinaryTokens) {
  const auto checkpoint = open(1.0f);
  const SpikeTemplates templates = calibrated(*checkpoint);
  ASSERT_TRUE(templates.has_balances());
  const TokenBatch batch = windows(6, 40, 1);
  testing::Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("blocks.0.mlp.post", recorder.observer());
  PassObserver none;
  run_model(checkpoint->weights(), batch, hooks, none);
  const std::vector<float>& values = recorder.at("blocks.0.mlp.post").values;
  std::vector<double> sums(24);
  for (size_t token = 0; token < batch.ids.size(); ++token)
    for (size_t i = 0; i < 24 && batch.ids[token] != testing::kSpikeToken; ++i)
      sums[i] += values[token * 24 + i] / (6.0 * 40.0 - 7.0);
  const ChannelBalance& balance = templates.balances[static_cast<size_t>(Site::down_in)][0];
  ASSERT_EQ(balance.means.size(), 24u);
  for (size_t i = 0; i < 24; ++i) EXPECT_NEAR(balance.means[i], sums[i], 1e-5);
  // Ranges are those of the balanced values: means are gone, and the spike is in those of all tokens alone.
  const SiteRange& ordinary = templates.range(Population::ordinary_balanced, Site::down_in, 0);
  EXPECT_EQ(ordinary[RangeKey::rows], 6 * 40 - 7);
  EXPECT_GT(templates.range(Population::all_balanced, Site::down_in, 0)[RangeKey::absmax],
            10.0f * ordinary[RangeKey::absmax]);

  // At 16 bits the basis makes no difference.
  const LossComparison comparison(checkpoint->weights(), text_windows(8, 32, 2), [](double) {});
  const auto loss_of = [&](const char* method, int bits) {
    return comparison
        .row(run(comparison, *checkpoint, templates, plan_of(find_activation_method(method), bits, templates)))
        .at("nll")
        .get<double>();
  };
  EXPECT_NEAR(loss_of("balanced-insertquant-dynamic", 16), loss_of("templates", 8), 1e-3);

  // So it is with a cache of keys and values, and at 2 bits it is not.
  const auto with_cache = [&](int bits) {
    ActivationPlan plan = plan_of(find_activation_method("templates"), 8, templates);
    plan.bits_kv = bits;
    return comparison.row(run(comparison, *checkpoint, templates, plan)).at("nll").get<double>();
  };
  EXPECT_NEAR(with_cache(16), loss_of("templates", 8), 1e-3);
  EXPECT_NE(with_cache(2), with_cache(16));

  SpikeTemplates old = templates;
  for (auto& layers : old.balances) layers.clear();
  for (auto& layers : old.ranges[static_cast<size_t>(Population::ordinary_balanced)]) layers.assign(4, SiteRange());
  write_templates(old, folder_ / "old.safetensors");
  EXPECT_THAT(error_of([&] {
                plan_of(find_activation_method("balanced-insertquant"), 8, read_templates(folder_ / "old.safetensors"));
              }),
              HasSubstr("needs balanced channels"));
}

TEST_F(InsertQuant, TemplatesDoWhatTheSpikeDid) {
  for (const float cancelled : {1.0f, 0.5f, 0.0f}) {
    const auto checkpoint = open(cancelled);
    const SpikeTemplates templates = calibrated(*checkpoint);
    ASSERT_EQ(templates.sets.size(), 1u);
    EXPECT_EQ(templates.sets[0].course.reaches_end, cancelled < 1.0f);
    const LossComparison comparison(checkpoint->weights(), text_windows(8, 32, 2), [](double) {});
    EXPECT_GT(comparison.reference().largest_h[0], 6000.0);
    for (const bool with_residual : {false, true}) {
      ActivationPlan plan = plan_of(find_activation_method("templates"), 8, templates);
      plan.end_with_residual = with_residual;
      const LossesOfPass replaced = run(comparison, *checkpoint, templates, plan);
      const Json row = comparison.row(replaced);
      EXPECT_LT(std::abs(row.at("dnll").get<double>()), 0.01) << cancelled << " " << with_residual;
      EXPECT_LT(replaced.largest_h[0], 100.0);
      EXPECT_LT(replaced.largest_h[1], 100.0);
      EXPECT_EQ(replaced.new_spike_tokens, 0);
    }
  }
}

TEST_F(InsertQuant, KeepsTheLossWhereANaiveScaleDoesNot) {
  const auto checkpoint = open(1.0f);
  const SpikeTemplates templates = calibrated(*checkpoint);
  const LossComparison comparison(checkpoint->weights(), text_windows(8, 32, 2), [](double) {});
  // How far the windows' losses are from the reference's; a model of random weights may also gain from what is lost.
  const auto distance = [&](const char* method) {
    const ActivationPlan plan = plan_of(find_activation_method(method), 8, templates);
    const LossesOfPass pass = run(comparison, *checkpoint, templates, plan);
    double sum = 0.0;
    for (size_t window = 0; window < pass.windows.size(); ++window)
      sum += std::abs(pass.windows[window].nll - comparison.reference().windows[window].nll);
    return sum;
  };
  const double naive = distance("naive");
  EXPECT_LT(distance("insertquant"), 0.5 * naive);
  EXPECT_LT(distance("dynamic"), 0.5 * naive);
}

TEST_F(InsertQuant, NotApplicableWithoutSpikes) {
  testing::write_tiny_model(folder_ / "tiny");
  const auto checkpoint = Checkpoint::open(folder_ / "tiny");
  const SpikeTemplates templates = calibrated(*checkpoint);
  EXPECT_THAT(templates.sets, IsEmpty());
  EXPECT_THAT(why_not_applicable(templates), HasSubstr("64 x the median"));
  EXPECT_THAT(error_of([&] { plan_of(find_activation_method("insertquant"), 8, templates); }),
              HasSubstr("needs templates"));
  EXPECT_GT(templates.range(Population::ordinary, Site::attn_in, 2)[RangeKey::mse8], 0.0f);
}

TEST_F(InsertQuant, FilesKeepEverything) {
  const auto checkpoint = open(0.5f);
  const SpikeTemplates templates =
      calibrated(*checkpoint, windows(6, 40, 1), {.rotation = RotationKind::hadamard, .prefix = {{1, 20}}});
  for (const char* name : {"t.safetensors", "t.h5"}) {
    write_templates(templates, folder_ / name);
    const SpikeTemplates read = read_templates(folder_ / name);
    EXPECT_EQ(to_json(read), to_json(templates)) << name;
    EXPECT_EQ(ranges_json(read), ranges_json(templates)) << name;
    ASSERT_EQ(read.sets.size(), 1u);
    EXPECT_EQ(read.sets[0].attn_in, templates.sets[0].attn_in);
    EXPECT_EQ(read.sets[0].mlp_in, templates.sets[0].mlp_in);
    EXPECT_EQ(read.sets[0].residual, templates.sets[0].residual);
    EXPECT_EQ(read.sets[0].final_out, templates.sets[0].final_out);
    EXPECT_EQ(read.prefix.ids, templates.prefix.ids);
    EXPECT_EQ(read.prefix.spikes, templates.prefix.spikes);
    EXPECT_EQ(read.weight_maxima, templates.weight_maxima);
    for (const Population population : {Population::ordinary, Population::all})
      for (const SiteKind& kind : site_kinds())
        for (int layer = 0; layer < 4; ++layer) {
          const ChannelRange &found = read.channel_range(population, kind.site, layer),
                             &expected = templates.channel_range(population, kind.site, layer);
          EXPECT_EQ(found.lowest, expected.lowest);
          EXPECT_EQ(found.highest, expected.highest);
          EXPECT_EQ(found.highest.size(), kind.site == Site::down_in ? 24u : 16u);
        }
    for (size_t site = 0; site < kSites; ++site)
      for (size_t layer = 0; layer < 4; ++layer) {
        EXPECT_EQ(read.balances[site][layer].means, templates.balances[site][layer].means);
        EXPECT_EQ(read.balances[site][layer].factors, templates.balances[site][layer].factors);
      }
    check_templates_of(read, folder_ / name, checkpoint->sha256(), checkpoint->architecture());
    EXPECT_THAT(
        error_of([&] { check_templates_of(read, folder_ / name, std::string(64, '0'), checkpoint->architecture()); }),
        AllOf(HasSubstr(name), HasSubstr("another model")));
  }
  // The same bytes each time.
  write_templates(templates, folder_ / "again.safetensors");
  EXPECT_EQ(read_file(folder_ / "again.safetensors"), read_file(folder_ / "t.safetensors"));
}

TEST_F(InsertQuant, HostileFilesAreRefused) {
  const auto checkpoint = open(0.5f);
  const SpikeTemplates templates = calibrated(*checkpoint);
  const std::filesystem::path file = folder_ / "t.safetensors";
  write_templates(templates, file);
  const std::string bytes = read_file(file);
  for (const size_t length : {size_t{0}, size_t{7}, bytes.size() / 2, bytes.size() - 1}) {
    testing::write_text(folder_ / "cut.safetensors", bytes.substr(0, length));
    EXPECT_THAT(error_of([&] { read_templates(folder_ / "cut.safetensors"); }), HasSubstr("cut.safetensors"));
  }
  const auto changed = [&](const std::function<void(SpikeTemplates&)>& change) {
    SpikeTemplates copy = templates;
    change(copy);
    write_templates(copy, folder_ / "changed.safetensors");
    return error_of([&] { read_templates(folder_ / "changed.safetensors"); });
  };
  EXPECT_EQ(changed([](SpikeTemplates&) {}), "");
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].course.birth = 4; }), HasSubstr("\"birth\" is 4"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].course.cancelling = {0}; }), HasSubstr("cancelling"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].course.threshold = -1.0; }), HasSubstr("threshold"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].attn_in.resize(32); }), HasSubstr("[2, 16]"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].residual[3] = std::nanf(""); }), HasSubstr("not finite at 3"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.blocks.pop_back(); }), HasSubstr("4 entries"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.channels[1][2][3].highest[5] = std::nanf(""); }),
              AllOf(HasSubstr("channels.all.mlp_in"), HasSubstr("not finite")));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.channels[0][1][0].lowest.assign(16, std::nanf("")); }),
              HasSubstr("one of two rows"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.prefix.ids = {-3}; }), HasSubstr("\"ids\""));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.balances[1][2].factors[3] = 0.0f; }),
              AllOf(HasSubstr("balance.factors.o_in"), HasSubstr("row 2")));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.balances[3][0].means[3] = std::nanf(""); }),
              AllOf(HasSubstr("balance.means.down_in"), HasSubstr("row 0")));
  EXPECT_THAT(error_of([&] { read_templates(folder_ / "model/model.safetensors"); }), HasSubstr("no template file"));

  // Ranges that no quantizer can have are found before anything runs.
  const auto simulated = [&](const std::function<void(SiteRange&)>& change, int bits) {
    SpikeTemplates copy = templates;
    change(copy.range(Population::all, Site::o_in, 2));
    return error_of([&] {
      SimulatedActivations(checkpoint->architecture(), copy, plan_of(find_activation_method("mse"), bits, copy));
    });
  };
  EXPECT_EQ(simulated([](SiteRange&) {}, 8), "");
  EXPECT_THAT(simulated([](SiteRange& r) { r[RangeKey::mse8] = std::nanf(""); }, 8), HasSubstr("o_in of block 2"));
  EXPECT_THAT(simulated([](SiteRange& r) { r[RangeKey::rows] = 0.0f; }, 8), HasSubstr("no samples"));
  EXPECT_THAT(simulated([](SiteRange&) {}, 7), HasSubstr("8, 6 and 4 bits"));
}

TEST_F(InsertQuant, FilesOfBeforeThereWereChannelsAndPrefixesAreRead) {
  const auto checkpoint = open(0.5f);
  const SpikeTemplates templates = calibrated(*checkpoint);
  write_templates(templates, folder_ / "new.safetensors");
  const SafetensorsFile whole = read_safetensors(folder_ / "new.safetensors");
  Json document = parse_json(whole.metadata.at("templates"), "document");
  document.erase("prefix");
  document.erase("site_widths");
  std::vector<TensorToWrite> tensors;
  for (const TensorInfo& tensor : whole.tensors.tensors())
    if (!tensor.name.starts_with("channels.") && !tensor.name.starts_with("ranges.prefixed"))
      tensors.push_back({tensor.name, tensor.shape, "F32", tensor.bytes});
  write_safetensors(folder_ / "old.safetensors", tensors,
                    {{"format", "spikescope-templates"}, {"version", "1"}, {"templates", document.dump()}});
  const SpikeTemplates old = read_templates(folder_ / "old.safetensors");
  EXPECT_EQ(old.range(Population::all, Site::o_in, 2).values[1],
            templates.range(Population::all, Site::o_in, 2).values[1]);
  plan_of(find_activation_method("insertquant"), 8, old);
  for (const char* method : {"smoothquant", "smoothquant-insertquant", "outlier-split"})
    EXPECT_THAT(error_of([&] { plan_of(find_activation_method(method), 8, old); }),
                AllOf(HasSubstr(method), HasSubstr("ranges of single channels"), HasSubstr("spikescope templates")));
  for (const char* method : {"prefix", "prefixquant", "prefixquant-absmax"})
    EXPECT_THAT(error_of([&] { plan_of(find_activation_method(method), 8, old); }),
                AllOf(HasSubstr(method), HasSubstr("--prefix auto")));
}

TEST_F(InsertQuant, ChannelsHaveTheEndsOfTheirValues) {
  const auto checkpoint = open(1.0f);
  const TokenBatch batch = windows(6, 40, 1);
  const SpikeTemplates templates = calibrated(*checkpoint);
  for (const int layer : {0, 2}) {
    const std::vector<float> values = values_at("blocks." + std::to_string(layer) + ".ln2.out", *checkpoint, batch);
    for (const bool ordinary : {false, true}) {
      const ChannelRange& range =
          templates.channel_range(ordinary ? Population::ordinary : Population::all, Site::mlp_in, layer);
      std::vector<float> lowest(16), highest(16);
      for (size_t i = 0; i < values.size(); ++i) {
        if (ordinary && batch.ids[i / 16] == testing::kSpikeToken) continue;
        lowest[i % 16] = std::min(lowest[i % 16], values[i]);
        highest[i % 16] = std::max(highest[i % 16], values[i]);
      }
      for (size_t channel = 0; channel < 16; ++channel) {
        EXPECT_NEAR(range.lowest[channel], lowest[channel], 1e-5) << layer << " " << ordinary << " " << channel;
        EXPECT_NEAR(range.highest[channel], highest[channel], 1e-5) << layer << " " << ordinary << " " << channel;
      }
    }
  }
  EXPECT_EQ(templates.weight_maxima[1][2], reading_maxima(checkpoint->weights(), Site::o_in, 2));
}

TEST_F(InsertQuant, SmoothedChannelsAreRoundedInTheirOwnUnits) {
  const auto checkpoint = open(1.0f);
  const TokenBatch batch = windows(6, 40, 1);
  const SpikeTemplates templates = calibrated(*checkpoint);
  // What the first block reads does not depend on what is quantized behind it.
  const std::vector<float> plain = values_at("blocks.0.ln1.out", *checkpoint, batch);
  const ChannelRange& range = templates.channel_range(Population::all, Site::attn_in, 0);
  for (const bool asymmetric : {false, true}) {
    ActivationPlan plan = plan_of(find_activation_method("smoothquant"), 8, templates);
    plan.smooth = 0.75;
    plan.asymmetric = asymmetric;
    const std::vector<float> rounded = values_at("blocks.0.ln1.out", *checkpoint, batch, &templates, plan);
    double low = 0.0, high = 0.0;
    std::vector<double> scales;
    for (size_t j = 0; j < 16; ++j) {
      const double most = std::max(-range.lowest[j], range.highest[j]);
      scales.push_back(std::pow(most, 0.75) / std::pow(double{templates.weight_maxima[0][0][j]}, 0.25));
      low = std::min(low, range.lowest[j] / scales[j]);
      high = std::max(high, range.highest[j] / scales[j]);
    }
    const double step = asymmetric ? (high - low) / 255.0 : std::max(-low, high) / 127.5;
    for (size_t i = 0; i < plain.size(); ++i) {
      const double unit = step * scales[i % 16];
      if (unit == 0.0) {  // a channel that is always 0
        EXPECT_EQ(rounded[i], 0.0f) << i << " " << asymmetric;
        continue;
      }
      EXPECT_LE(std::abs(rounded[i] - plain[i]), 0.501 * unit) << i << " " << asymmetric;
      EXPECT_NEAR(rounded[i] / unit, std::nearbyint(rounded[i] / unit), 1e-3) << i << " " << asymmetric;
    }
    EXPECT_NE(rounded, plain);
  }
}

TEST_F(InsertQuant, ChannelsWithOutliersStayAsTheyAre) {
  const auto checkpoint = open(1.0f);
  const TokenBatch batch = windows(6, 40, 1);
  const SpikeTemplates templates = calibrated(*checkpoint);
  ActivationPlan plan = plan_of(find_activation_method("outlier-split"), 8, templates);
  EXPECT_EQ(plan.outliers, 6.0);
  plan.outliers = 2.5;
  const std::vector<int64_t> outliers =
      outlier_channels(templates.channel_range(Population::all, Site::attn_in, 0), plan.outliers);
  ASSERT_FALSE(outliers.empty());
  ASSERT_LT(outliers.size(), 16u);
  const std::vector<float> plain = values_at("blocks.0.ln1.out", *checkpoint, batch);
  const std::vector<float> rounded = values_at("blocks.0.ln1.out", *checkpoint, batch, &templates, plan);
  for (size_t token = 0; token < batch.ids.size(); ++token) {
    const auto is_outlier = [&](size_t channel) {
      return std::find(outliers.begin(), outliers.end(), static_cast<int64_t>(channel)) != outliers.end();
    };
    float most = 0.0f;
    for (size_t j = 0; j < 16; ++j)
      if (!is_outlier(j)) most = std::max(most, std::abs(plain[token * 16 + j]));
    const Quantizer quantizer = Quantizer::symmetric(8, most);
    for (size_t j = 0; j < 16; ++j) {
      const float value = plain[token * 16 + j];
      EXPECT_EQ(rounded[token * 16 + j], is_outlier(j) ? value : quantizer(value)) << token << " " << j;
    }
  }
  // A static scale for the rest leaves the outliers out as well.
  for (auto& layers : plan.choices)
    for (SiteChoice& choice : layers) choice.clip = Clip::absmax;
  const std::vector<float> fixed = values_at("blocks.0.ln1.out", *checkpoint, batch, &templates, plan);
  for (size_t i = 0; i < fixed.size(); ++i)
    EXPECT_LE(std::abs(fixed[i] - plain[i]), 2.5f / 127.5f * 0.501f) << "steps of at most the threshold";
  for (auto& layers : plan.choices)
    for (SiteChoice& choice : layers) choice.clip = Clip::mse;
  EXPECT_THAT(error_of([&] { SimulatedActivations(checkpoint->architecture(), templates, plan); }),
              HasSubstr("the clip 'mse'"));
}

TEST_F(InsertQuant, ThePrefixIsChosenAmongSpikeTokensAndRangesAreTakenBehindIt) {
  const auto checkpoint = open(1.0f);
  const SpikeTemplates found = calibrated(*checkpoint, windows(6, 40, 1), {.prefix = std::nullopt});
  EXPECT_THAT(found.prefix.ids, ElementsAre(testing::kSpikeToken));
  EXPECT_EQ(found.prefix.spikes, 7) << "this token has a spike wherever it stands";
  EXPECT_GT(found.range(Population::prefixed, Site::down_in, 0)[RangeKey::absmax], 6000.0f);

  // Windows without it, behind it: what the prefix has does not count.
  TokenBatch ordinary = windows(6, 40, 1);
  for (int64_t& id : ordinary.ids)
    if (id == testing::kSpikeToken) id = 30;
  const SpikeTemplates given = calibrated(*checkpoint, ordinary, {.prefix = {{testing::kSpikeToken}}});
  EXPECT_THAT(given.sets, IsEmpty());
  EXPECT_EQ(given.prefix.spikes, 0);
  const SiteRange& behind = given.range(Population::prefixed, Site::down_in, 0);
  EXPECT_LT(behind[RangeKey::absmax], 100.0f);
  EXPECT_EQ(behind[RangeKey::rows], 240.0f);
  // The first block's first site sees no other tokens: as without a prefix.
  EXPECT_EQ(given.range(Population::prefixed, Site::attn_in, 0)[RangeKey::absmax],
            given.range(Population::all, Site::attn_in, 0)[RangeKey::absmax]);
  EXPECT_NE(given.range(Population::prefixed, Site::attn_in, 1)[RangeKey::absmax],
            given.range(Population::all, Site::attn_in, 1)[RangeKey::absmax]);

  // Whole contexts leave no room.
  EXPECT_THAT(calibrated(*checkpoint, windows(1, 512, 1), {.prefix = std::nullopt}).prefix.ids, IsEmpty());
  EXPECT_THAT(error_of([&] { calibrated(*checkpoint, windows(1, 512, 1), {.prefix = {{1}}}); }),
              HasSubstr("context is 512"));
  EXPECT_THAT(error_of([&] { calibrated(*checkpoint, windows(1, 40, 1), {.prefix = {{64}}}); }), HasSubstr("id 64"));
}

TEST_F(InsertQuant, ProgressGoesOnFromPassToPass) {
  const auto checkpoint = open(1.0f);
  for (const RotationKind rotation : {RotationKind::none, RotationKind::hadamard})
    for (const auto& prefix : {std::optional<std::vector<int64_t>>(), std::optional(std::vector<int64_t>())}) {
      std::vector<double> fractions;
      std::vector<std::string> parts;
      calibrate(checkpoint->weights(), windows(6, 40, 1), {}, {.rotation = rotation, .prefix = prefix},
                [&](double fraction, const std::string& part) {
                  fractions.push_back(fraction);
                  if (parts.empty() || parts.back() != part) parts.push_back(part);
                });
      EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
      EXPECT_DOUBLE_EQ(fractions.back(), 1.0);
      EXPECT_EQ(parts.size(), 2u + (rotation != RotationKind::none) + !prefix);
    }
}

TEST_F(InsertQuant, ThePrefixIsNotQuantizedAndDoesNotCount) {
  const auto checkpoint = open(1.0f);
  TokenBatch batch = windows(4, 32, 5);
  for (int64_t& id : batch.ids)
    if (id == testing::kSpikeToken) id = 30;
  const SpikeTemplates templates = calibrated(*checkpoint, windows(6, 40, 1), {.prefix = {{testing::kSpikeToken, 20}}});
  const TokenBatch prefixed = with_prefix(batch, templates.prefix.ids);
  const std::vector<uint8_t> of_prefix = prefix_rows(prefixed, 2);
  const ActivationPlan plan = plan_of(find_activation_method("prefixquant"), 8, templates);
  const Quantizer quantizer =
      Quantizer::symmetric(8, templates.range(Population::prefixed, Site::attn_in, 0)[RangeKey::mse8]);
  const std::vector<float> plain = values_at("blocks.0.ln1.out", *checkpoint, prefixed),
                           rounded = values_at("blocks.0.ln1.out", *checkpoint, prefixed, &templates, plan);
  for (size_t i = 0; i < plain.size(); ++i)
    EXPECT_EQ(rounded[i], of_prefix[i / 16] ? plain[i] : quantizer(plain[i])) << i;
  // Nor further on, where it would have changed: no quantized token stands before the prefix.
  const std::vector<float> later = values_at("blocks.3.ln1.out", *checkpoint, prefixed),
                           changed = values_at("blocks.3.ln1.out", *checkpoint, prefixed, &templates, plan);
  for (size_t i = 0; i < later.size(); ++i) {
    if (!of_prefix[i / 16]) continue;
    EXPECT_EQ(changed[i], later[i]) << i;
  }
  EXPECT_NE(changed, later);

  // Neither are its keys and values.
  ActivationPlan cached = plan_of(find_activation_method("prefix"), 8, templates);
  cached.bits_kv = 2;
  const std::vector<float> keys = values_at("blocks.0.attn.rot_k", *checkpoint, prefixed),
                           rounded_keys = values_at("blocks.0.attn.rot_k", *checkpoint, prefixed, &templates, cached);
  ASSERT_EQ(keys.size(), of_prefix.size() * 8);
  for (size_t i = 0; i < keys.size(); ++i)
    if (of_prefix[i / 8]) EXPECT_EQ(rounded_keys[i], keys[i]) << i;
  EXPECT_NE(rounded_keys, keys);

  const TextWindows text{.length = 32, .ids = batch.ids, .bytes = std::vector<int64_t>(4, 31)};
  const LossComparison comparison(checkpoint->weights(), text, [](double) {});
  const LossesOfPass pass =
      run(comparison, *checkpoint, templates, plan_of(find_activation_method("prefix"), 8, templates));
  PassObserver none;
  const std::vector<float> losses = run_model(checkpoint->weights(), prefixed, {}, none, {.losses = true}).losses;
  for (size_t window = 0; window < 4; ++window) {
    double sum = 0.0;
    for (size_t row = 2; row < 33; ++row) sum += losses[window * 34 + row];
    EXPECT_NEAR(pass.windows[window].nll, sum / 31.0, 1e-5);
    EXPECT_NEAR(pass.windows[window].position0, losses[window * 34 + 2], 1e-6);
    EXPECT_NE(pass.windows[window].nll, comparison.reference().windows[window].nll);
  }
  EXPECT_LT(pass.largest_h[0], 100.0) << "the prefix's spike is not the text's";
  EXPECT_EQ(pass.new_spike_tokens, 0);
}

TEST_F(InsertQuant, OverridesTakeThePlaceOfTheMethodsChoices) {
  SpikeTemplates templates;
  templates.n_layers = 4;
  for (auto& population : templates.ranges)
    for (auto& layers : population) layers.resize(4);
  templates.range(Population::ordinary, Site::down_in, 3)[RangeKey::ratio] = 21.0f;
  templates.sets.emplace_back();
  const std::vector<SiteOverride> overrides = {parse_override("o_in=none", 8, 4),
                                               parse_override("attn_in:0,2-3=absmax:6", 8, 4)};
  const ActivationPlan plan = plan_of(find_activation_method("insertquant-dynamic"), 8, templates, overrides);
  const auto clip = [&](Site site, size_t layer) { return plan.choices[static_cast<size_t>(site)][layer].clip; };
  EXPECT_EQ(clip(Site::o_in, 1), Clip::none);
  EXPECT_EQ(clip(Site::attn_in, 1), Clip::mse);
  EXPECT_EQ(clip(Site::attn_in, 2), Clip::absmax);
  EXPECT_EQ(plan.choices[0][3].bits, 6);
  EXPECT_EQ(plan.choices[0][1].bits, 8);
  EXPECT_EQ(clip(Site::down_in, 3), Clip::dynamic);
  EXPECT_EQ(clip(Site::down_in, 2), Clip::mse);
  for (const char* wrong : {"o_in", "x=none", "o_in=x", "o_in:4=none", "o_in=mse:1", "o_in=mse:x", "o_in:=none"})
    EXPECT_THAT(error_of([&] { parse_override(wrong, 8, 4); }), HasSubstr(wrong));
}

}  // namespace
}  // namespace spikescope
