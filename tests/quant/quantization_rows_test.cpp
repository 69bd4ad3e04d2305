#include "quant/quantization_rows.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../fixtures.h"
#include "../planted_model.h"
#include "families/checkpoint.h"
#include "quant/calibrate.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// "name A8 W4" of each.
std::vector<std::string> names_of(const std::vector<QuantizationRow>& rows) {
  std::vector<std::string> names;
  for (const QuantizationRow& row : rows)
    names.push_back(fmt::format("{}{}{}", row.name(),
                                row.rounds_activations() ? fmt::format(" A{}", row.activations.bits) : "",
                                row.weights.quantizes() ? fmt::format(" W{}", row.weights.bits) : ""));
  return names;
}

TEST(QuantizationRows, AreMethodsTimesBitsForEachKindOfWeights) {
  RowRequest request{.methods = {"naive", "templates"}, .bits_activation = {8, 4}};
  EXPECT_THAT(names_of(quantization_rows(request, nullptr)), ElementsAre("naive A8", "naive A4", "templates"));
  request.bits_weight = {4};
  EXPECT_THAT(names_of(quantization_rows(request, nullptr)), ElementsAre("naive A8 W4", "naive A4 W4", "templates W4"));
  request.compare = true;
  EXPECT_THAT(names_of(quantization_rows(request, nullptr)),
              ElementsAre("naive A8", "naive A4", "templates", "rtn W4", "naive A8 W4", "naive A4 W4", "templates W4"));
  EXPECT_THAT(names_of(quantization_rows({.bits_activation = {8}, .bits_weight = {4, 3}}, nullptr)),
              ElementsAre("rtn W4", "rtn W3"));
  EXPECT_THAT(error_of([] { quantization_rows({.bits_activation = {8}}, nullptr); }), HasSubstr("--method NAME"));
  EXPECT_EQ(QuantizationRow().name(), "fp");
}

TEST(QuantizationRows, ComparingTriesWhatTheTemplatesAllow) {
  SpikeTemplates templates;
  const auto names = [&] { return names_of(quantization_rows({.bits_activation = {8}, .compare = true}, &templates)); };
  for (const std::string& name : names()) {
    EXPECT_EQ(name.find("insertquant"), name.npos) << name << " needs templates";
    EXPECT_EQ(name.find("rotation"), name.npos) << name << " needs ranges of rotated values";
  }
  for (const std::string& name : names()) {
    EXPECT_EQ(name.find("smooth"), name.npos) << name << " needs ranges of channels";
    EXPECT_EQ(name.find("prefix"), name.npos) << name << " needs a prefix";
  }
  const size_t plain = names().size();
  templates.rotation = RotationKind::hadamard;
  EXPECT_GT(names().size(), plain);
  templates.sets.emplace_back();
  templates.kv_heads = 1;
  for (auto& layers : templates.balances) layers.emplace_back();
  for (auto& layers : templates.weight_maxima) layers.emplace_back();
  templates.prefix.ids = {1};
  EXPECT_THAT(names(), SizeIs(activation_methods().size()));
  // Smoothed channels and rounded weights get in each other's way.
  const RowRequest request{.bits_activation = {8}, .bits_weight = {4}, .compare = true};
  size_t smoothed = 0;
  for (const QuantizationRow& row : quantization_rows(request, &templates)) {
    EXPECT_FALSE(row.is_contradictory()) << row.name();
    smoothed += row.name().starts_with("smoothquant");
  }
  EXPECT_EQ(smoothed, 2u) << "with weights as they are";
}

class Meter : public ::testing::Test {
 protected:
  Meter() {
    testing::write_planted_model(folder_ / "model", 1.0f);
    checkpoint_ = Checkpoint::open(folder_ / "model");
    tokenizer_.emplace(checkpoint_->tokenizer());
    testing::write_text(folder_ / "piqa.jsonl",
                        "{\"question\": \"ABCD\", \"choices\": [\"yes it is\", \"no\"], \"label\": 0}\n"
                        "{\"question\": \"EFGH\", \"choices\": [\"yes\", \"no it is\"], \"label\": 1}\n");
    for (int window = 0; window < 6; ++window)
      for (int token = 0; token < 24; ++token)
        windows_.ids.push_back(token == 0 ? testing::kSpikeToken : 2 + (7 * window * window + 11 * token) % 60);
    windows_.length = 24;
    windows_.bytes.assign(6, 23);
    templates_ = calibrate(checkpoint_->weights(), window_batch(windows_, 0, 6), {}, {.prefix = {{5, 9}}},
                           [](double, const auto&) {});
  }
  RowMeter meter(std::vector<TaskRows> tasks = {}) {
    return {*checkpoint_, *tokenizer_, windows_, std::move(tasks), [&](double f) { fractions_.push_back(f); }};
  }
  MeasuredRow measure(const RowMeter& meter, const QuantizationRow& row) {
    return meter.measure(row, checkpoint_->weights(), 1000, &templates_, [&](double f) { fractions_.push_back(f); });
  }

  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Tokenizer> tokenizer_;
  TextWindows windows_;
  SpikeTemplates templates_;
  std::vector<double> fractions_;
};

TEST_F(Meter, MeasuresTheModelAsItIsFirst) {
  const RowMeter of_windows = meter();
  const MeasuredRow& reference = of_windows.reference();
  EXPECT_EQ(reference.json.at("method"), "fp");
  EXPECT_TRUE(reference.json.at("bits_activation").is_null() && reference.json.at("bits_weight").is_null());
  EXPECT_EQ(reference.json.at("dnll"), 0.0);
  EXPECT_EQ(reference.json.at("new_spikes"), 0);
  EXPECT_GT(reference.json.at("largest_h"), 6000.0) << "the spike";
  EXPECT_FALSE(reference.json.contains("zero_shot"));
  std::vector<WindowLoss> losses;
  measure_windows(checkpoint_->weights(), windows_, losses, {});
  const Json perplexity = perplexity_json(windows_, losses);
  for (const char* key : {"nll", "nll_se", "perplexity", "perplexity_without_position0"})
    EXPECT_EQ(reference.json.at(key), perplexity.at(key)) << key;

  // 16 d = 16, 4 blocks of q, o [16, 16], k, v [8, 16], gate, up, down [24, 16]; float32.
  const int64_t matrices = 4 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 24 * 16) * 4;
  EXPECT_EQ(reference.json.at("matrix_bytes"), matrices);
  EXPECT_EQ(reference.json.at("bytes"), matrices + (4 * 2 * 16 + 16 + 2 * 64 * 16) * 4) << "norms, embedding, head";
}

TEST_F(Meter, PutsQuantizedActivationsIntoLossesAndAnswers) {
  const RowMeter with_tasks = meter({read_task(find_task("piqa"), folder_.path(), {})});
  const Json& reference = with_tasks.reference().json;
  EXPECT_TRUE(std::is_sorted(fractions_.begin(), fractions_.end()));
  EXPECT_DOUBLE_EQ(fractions_.back(), 1.0);
  const Json& answers = reference.at("zero_shot");
  EXPECT_EQ(answers.at("average"), answers.at("tasks").at("piqa").at("acc"));
  EXPECT_EQ(answers.at("tasks").at("piqa").at("rows"), 2);

  const MeasuredRow coarse = measure(with_tasks, {{}, {.method = "naive", .bits = 2}});
  EXPECT_EQ(coarse.json.at("bits_activation"), 2);
  EXPECT_GT(std::abs(coarse.json.at("dnll").get<double>()), 0.01);
  EXPECT_EQ(coarse.json.at("matrix_bytes"), 1000);
  EXPECT_EQ(coarse.json.at("bytes").get<int64_t>() - 1000,
            reference.at("bytes").get<int64_t>() - reference.at("matrix_bytes").get<int64_t>());
  // The questions went through the same hooks as the windows.
  const SimulatedActivations activations(checkpoint_->architecture(), templates_,
                                         activation_plan({.method = "naive", .bits = 2}, templates_));
  const TaskRows rows = read_task(find_task("piqa"), folder_.path(), {});
  std::vector<ChoiceScores> scores, plain;
  const ZeroShot model{checkpoint_->weights(), *tokenizer_, {}};
  score_questions(model, rows, scores, pass_with(&activations));
  score_questions(model, rows, plain, {});
  EXPECT_NE(scores, plain);
  EXPECT_EQ(coarse.json.at("zero_shot").at("tasks").at("piqa"), task_json(rows, scores));

  const MeasuredRow replaced = measure(with_tasks, {{}, {.method = "templates"}});
  EXPECT_TRUE(replaced.json.at("bits_activation").is_null());
  EXPECT_LT(replaced.json.at("blocks").at(1).at("largest_h"), 100.0);
  const MeasuredRow rows_of_file[] = {with_tasks.reference(), coarse, replaced};
  H5File arrays = H5File::create(folder_ / "rows.h5");
  write_row_arrays(rows_of_file, arrays);
  EXPECT_THAT(arrays.shape("/nll"), ElementsAre(3, 6));
  EXPECT_THAT(arrays.shape("/largest_h"), ElementsAre(3, 4));
  EXPECT_THAT(arrays.shape("/new_spikes"), ElementsAre(3, 4));
  EXPECT_EQ(arrays.read<double>("/nll")[6], coarse.losses.windows[0].nll);
  EXPECT_EQ(arrays.read<double>("/largest_h")[9], replaced.losses.largest_h[1]);
}

TEST_F(Meter, PutsThePrefixInFrontOfWindowsAndQuestions) {
  templates_.prefix.text = "EI";
  const RowMeter with_tasks = meter({read_task(find_task("piqa"), folder_.path(), {})});
  const MeasuredRow row = measure(with_tasks, {{}, {.method = "prefix"}});
  EXPECT_EQ(row.json.at("prefix"), Json({{"ids", {5, 9}}, {"text", "EI"}}));
  EXPECT_FALSE(with_tasks.reference().json.contains("prefix"));
  std::vector<WindowLoss> losses, plain;
  measure_windows(checkpoint_->weights(), windows_, losses, {.prefix = {5, 9}});
  measure_windows(checkpoint_->weights(), windows_, plain, {});
  EXPECT_EQ(row.losses.windows[3].nll, losses[3].nll);
  EXPECT_NE(losses[3].nll, plain[3].nll);
  EXPECT_EQ(row.losses.largest_h.size(), 4u);
  const TaskRows rows = read_task(find_task("piqa"), folder_.path(), {});
  std::vector<ChoiceScores> scores;
  score_questions({checkpoint_->weights(), *tokenizer_, {}}, rows, scores, {.prefix = {5, 9}});
  EXPECT_EQ(row.json.at("zero_shot").at("tasks").at("piqa"), task_json(rows, scores));
}

TEST_F(Meter, SaysWhichChannelsAreLeftOut) {
  const RowMeter of_windows = meter();
  const MeasuredRow row = measure(of_windows, {{}, {.method = "outlier-split", .outliers = 1e-9}});
  EXPECT_GT(row.json.at("share_of_outliers").get<double>(), 0.9);
  EXPECT_FALSE(measure(of_windows, {{}, {.method = "dynamic"}}).json.contains("share_of_outliers"));
}

TEST_F(Meter, LossesOfSeveralPassesAreThoseOfOne) {
  // Batches do not show: the states of all passes are looked at together.
  TextWindows many = windows_;
  const int64_t copies = 2 * kBatchTokens / static_cast<int64_t>(windows_.ids.size());
  for (int64_t i = 1; i < copies; ++i) {
    many.ids.insert(many.ids.end(), windows_.ids.begin(), windows_.ids.end());
    many.bytes.insert(many.bytes.end(), windows_.bytes.begin(), windows_.bytes.end());
  }
  const LossComparison one(checkpoint_->weights(), windows_, [](double) {});
  const LossComparison several(checkpoint_->weights(), many, [](double) {});
  EXPECT_EQ(several.reference().largest_h, one.reference().largest_h);
  EXPECT_NEAR(several.row(several.reference()).at("nll"), one.row(one.reference()).at("nll"), 1e-12);
  const SimulatedActivations activations(checkpoint_->architecture(), templates_,
                                         activation_plan({.method = "naive", .bits = 3}, templates_));
  const LossesOfPass few = one.run(checkpoint_->weights(), &activations, [](double) {}),
                     lots = several.run(checkpoint_->weights(), &activations, [](double) {});
  EXPECT_EQ(lots.largest_h, few.largest_h);
  EXPECT_EQ(lots.new_spike_tokens, copies * few.new_spike_tokens);
}

}  // namespace
}  // namespace spikescope
