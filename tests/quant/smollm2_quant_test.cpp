// Quantized activations on SmolLM2-135M-Instruct (Q4_1 GGUF) and WikiText-2, as docs/quantize.md measures them:
// calibration on the first windows of the validation text, losses on the first windows of the test text, no BOS.
#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "../fixtures.h"
#include "families/checkpoint.h"
#include "quant/activation_losses.h"
#include "quant/calibrate.h"
#include "quant/recipe.h"

namespace spikescope {
namespace {

constexpr const char *kValidation = "data/wikitext-2/wiki.valid.txt", *kTest = "data/wikitext-2/wiki.test.raw.txt";

class SmolLM2Quantized : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_SMOLLM2();
    SKIP_WITHOUT_SHARED(kValidation);
    SKIP_WITHOUT_SHARED(kTest);
    checkpoint_ = Checkpoint::open(testing::smollm2_file());
    tokenizer_.emplace(checkpoint_->tokenizer());
  }
  TextWindows windows(const char* text, int64_t count) const {
    return read_windows(testing::shared_folder() / text, *tokenizer_, {}, 512, count);
  }
  /// Calibrates and runs the model as it is.
  void prepare(int64_t calibration, int64_t count) {
    const TextWindows text = windows(kValidation, calibration);
    templates_ = calibrate(checkpoint_->weights(), window_batch(text, 0, text.count()), {}, {},
                           [](double, const std::string&) {});
    ASSERT_EQ(templates_.sets.size(), 1u) << why_not_applicable(templates_);
    EXPECT_EQ(templates_.sets[0].course.birth, 11);
    comparison_.emplace(checkpoint_->weights(), windows(kTest, count), [](double) {});
  }
  Json row(const char* method) const {
    const SimulatedActivations activations(checkpoint_->architecture(), templates_,
                                           activation_plan({.method = method}, templates_));
    return comparison_->row(comparison_->run(checkpoint_->weights(), &activations, [](double) {}));
  }
  /// With templates in the spike's place nothing large is left, and nothing is lost.
  void expect_spike_free(const Json& templates) const {
    EXPECT_LT(std::abs(templates.at("dnll").get<double>()), 0.002);
    EXPECT_EQ(templates.at("new_spikes"), 0);
    for (size_t block = 11; block <= 28; ++block) {
      EXPECT_LT(templates.at("blocks").at(block).at("largest_h"), 800.0) << block;
    }
    for (size_t block = 11; block < 28; ++block) EXPECT_GT(comparison_->reference().largest_h[block], 20000.0) << block;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Tokenizer> tokenizer_;
  SpikeTemplates templates_;
  std::optional<LossComparison> comparison_;
};

/// NLL of each window by transformers 5.23 with torch 2.13 (float32), from the same file.
constexpr double kTransformers[] = {3.090249, 3.590735, 3.471671, 3.578493, 3.365117, 3.222966, 3.478969, 3.580461};

TEST_F(SmolLM2Quantized, TemplatesKeepTheLossAndNaiveScalesDoNot) {
  ASSERT_NO_FATAL_FAILURE(prepare(8, std::size(kTransformers)));
  for (size_t window = 0; window < std::size(kTransformers); ++window)
    EXPECT_NEAR(comparison_->reference().windows[window].nll, kTransformers[window], 2e-4) << window;
  expect_spike_free(row("templates"));
  const double naive = row("naive").at("dnll"), insertquant = row("insertquant").at("dnll");
  EXPECT_GT(naive, 0.7);
  EXPECT_LT(insertquant, 0.2);
}

/// The figures of docs/quantize.md in full: some minutes.
TEST_F(SmolLM2Quantized, FiguresOfTheDocumentation) {
  if (!std::getenv("SPIKESCOPE_LONG_TESTS")) GTEST_SKIP() << "takes minutes; set SPIKESCOPE_LONG_TESTS=1";
  ASSERT_NO_FATAL_FAILURE(prepare(32, 40));
  EXPECT_NEAR(comparison_->row(comparison_->reference()).at("perplexity"), 29.19, 0.05);
  expect_spike_free(row("templates"));
  EXPECT_NEAR(row("naive").at("perplexity"), 70.0, 3.0);
  EXPECT_LE(row("insertquant").at("perplexity"), 32.9);
}

}  // namespace
}  // namespace spikescope
