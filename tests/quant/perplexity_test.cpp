#include "quant/perplexity.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../fixtures.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "model/runner.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Windows : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    testing::write_text(folder_ / "text", kText);
    checkpoint_ = Checkpoint::open(folder_ / "tiny");
    tokenizer_.emplace(checkpoint_->tokenizer());
  }
  TextWindows windows(int64_t length, std::optional<int64_t> count = {}, std::optional<int64_t> bos = {}) const {
    return read_windows(folder_ / "text", *tokenizer_, bos, length, count);
  }
  std::vector<WindowLoss> losses(const TextWindows& windows, EvaluationPass pass = {}) const {
    std::vector<WindowLoss> losses;
    measure_windows(checkpoint_->weights(), windows, losses, pass);
    return losses;
  }

  static constexpr const char* kText = "Summer is warm. Winter is cold. Autumn is between them.";
  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(Windows, AreCutFromTheIdsOfTheWholeText) {
  const std::vector<int64_t> all = tokenizer_->encode(kText, false);
  ASSERT_EQ(all.size(), 55u);
  const TextWindows cut = windows(10, 3);
  EXPECT_EQ(cut.ids, std::vector<int64_t>(all.begin(), all.begin() + 30));
  EXPECT_EQ(cut.available, 5);
  EXPECT_EQ(cut.file, "text");
  EXPECT_THAT(cut.bytes, ElementsAre(9, 9, 9)) << "a token is a byte here; the first of a window is not predicted";
  EXPECT_EQ(windows(10).count(), 5);

  const TextWindows begun = windows(10, 2, 7);
  std::vector<int64_t> expected = {7};
  expected.insert(expected.end(), all.begin(), all.begin() + 9);
  expected.push_back(7);
  expected.insert(expected.end(), all.begin() + 9, all.begin() + 18);
  EXPECT_EQ(begun.ids, expected);
  EXPECT_EQ(begun.available, 6);
  EXPECT_THAT(begun.bytes, ElementsAre(9, 9));
  EXPECT_EQ(begun.ids_sha256, cut.ids_sha256) << "of the whole text";

  testing::write_text(folder_ / "other", "Summer is hot. ");
  EXPECT_NE(read_windows(folder_ / "other", *tokenizer_, {}, 10, {}).ids_sha256, cut.ids_sha256);
}

TEST_F(Windows, NeedEnoughText) {
  EXPECT_THAT(error_of([&] { windows(56); }), HasSubstr("its 55 tokens make 0 windows of 56; at least one is needed"));
  EXPECT_THAT(error_of([&] { windows(10, 6); }), HasSubstr("5 windows of 10; 6 were asked for"));
  EXPECT_THAT(error_of([&] { windows(1); }), HasSubstr("--length is 1"));
  EXPECT_THAT(error_of([&] { windows(10, 0); }), HasSubstr("--windows is 0"));
  EXPECT_THAT(error_of([&] { read_windows(folder_ / "none", *tokenizer_, {}, 8, {}); }), HasSubstr("none"));
}

TEST(SpelledBytes, CountACharacterWhereItEnds) {
  Json json = testing::tiny_tokenizer();
  json["model"]["vocab"]["Ã"] = 64;  // stands for 0xc3, "©" for 0xa9
  json["model"]["vocab"]["©"] = 65;
  const Tokenizer tokenizer = Tokenizer::from_json(json, Json(), "test");
  const std::vector<int64_t> ids = tokenizer.encode("aébéc", false);
  ASSERT_THAT(ids, ElementsAre(33, 64, 65, 34, 64, 65, 35));
  EXPECT_THAT(spelled_bytes(tokenizer, ids, {0, 2, 3, 7}), ElementsAre(1, 2, 4));
  EXPECT_THAT(spelled_bytes(tokenizer, ids, {1, 5, 6}), ElementsAre(3, 2));
}

TEST_F(Windows, AreMeasuredInBatchesToTheSameBits) {
  const TextWindows five = windows(10);
  TokenBatch batch{five.ids, {0, 10, 20, 30, 40, 50}};
  PassObserver none;
  const std::vector<float> all = run_model(checkpoint_->weights(), batch, {}, none, {.losses = true}).losses;
  const std::vector<WindowLoss> once = losses(five);
  ASSERT_EQ(once.size(), 5u);
  for (size_t w = 0; w < 5; ++w) {
    double sum = 0.0;
    for (size_t i = 0; i < 9; ++i) sum += all[w * 10 + i];
    EXPECT_DOUBLE_EQ(once[w].nll, sum / 9) << w;
    EXPECT_EQ(once[w].position0, all[w * 10]) << w;
  }

  int passes = 0;
  std::vector<double> fractions;
  const std::vector<WindowLoss> some = losses(
      five, {.batch_tokens = 25, .progress = [&](double f) { fractions.push_back(f); }, .kept = [&] { ++passes; }});
  EXPECT_EQ(passes, 3) << "two windows at a time";
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_DOUBLE_EQ(fractions.back(), 1.0);
  for (size_t w = 0; w < 5; ++w) EXPECT_EQ(some[w].nll, once[w].nll) << w;

  // Only what is missing is measured.
  std::vector<WindowLoss> resumed = {{1.0, 2.0}, once[1], once[2]};
  passes = 0;
  measure_windows(checkpoint_->weights(), five, resumed, {.batch_tokens = 1, .kept = [&] { ++passes; }});
  EXPECT_EQ(passes, 2);
  EXPECT_EQ(resumed[0].nll, 1.0);
  EXPECT_EQ(resumed[4].nll, once[4].nll);
}

TEST_F(Windows, StandBehindAPrefixThatDoesNotCount) {
  const TextWindows cut = windows(10, 3);
  const std::vector<WindowLoss> behind = losses(cut, {.prefix = {1, 5}});
  ASSERT_EQ(behind.size(), 3u);
  for (int64_t window = 0; window < 3; ++window) {
    TokenBatch batch{{1, 5}, {0, 12}};
    batch.ids.insert(batch.ids.end(), cut.ids.begin() + 10 * window, cut.ids.begin() + 10 * (window + 1));
    PassObserver none;
    const std::vector<float> all = run_model(checkpoint_->weights(), batch, {}, none, {.losses = true}).losses;
    double sum = 0.0;
    for (size_t row = 2; row < 11; ++row) sum += static_cast<double>(all[row]);
    EXPECT_NEAR(behind[static_cast<size_t>(window)].nll, sum / 9.0, 1e-6);
    EXPECT_NEAR(behind[static_cast<size_t>(window)].position0, all[2], 1e-6) << "of the window's first token";
  }
}

TEST_F(Windows, GoThroughWhatIsAttached) {
  const TextWindows five = windows(10);
  std::vector<size_t> batches;
  const auto zero = [&](Hooks& hooks, const TokenBatch& batch) {
    batches.push_back(batch.ids.size());
    hooks.intervene("ln_final.out", [](const Activation& a) {
      for (int64_t row = 0; row < a.values.rows(); ++row) std::fill_n(a.values.row(row), a.values.row_size(), 0.0f);
    });
  };
  for (const WindowLoss& loss : losses(five, {.attach = zero, .batch_tokens = 30})) {
    EXPECT_NEAR(loss.nll, std::log(64), 1e-6) << "all logits are 0";
    EXPECT_NEAR(loss.position0, std::log(64), 1e-6);
  }
  EXPECT_THAT(batches, ElementsAre(30, 20));

  const auto breaks = [](Hooks& hooks, const TokenBatch&) {
    hooks.intervene("logits", [](const Activation& a) { a.values.row(12 - a.first_row)[0] = std::nanf(""); });
  };
  EXPECT_THAT(error_of([&] { losses(five, {.attach = breaks}); }),
              HasSubstr("window 1: the loss of the prediction at position 2 is nan"));
}

TEST_F(Windows, ShowTheStatesAfterEachBlock) {
  const TextWindows five = windows(10);
  std::vector<std::pair<int, int64_t>> seen;  // block, tokens
  losses(five, {.batch_tokens = 20, .block_done = [&](int layer, const TensorView& residual) {
                  EXPECT_EQ(residual.row_size(), 16);
                  seen.emplace_back(layer, residual.rows());
                }});
  EXPECT_THAT(seen,
              ElementsAre(std::pair(0, 20), std::pair(1, 20), std::pair(2, 20), std::pair(0, 20), std::pair(1, 20),
                          std::pair(2, 20), std::pair(0, 10), std::pair(1, 10), std::pair(2, 10)));
  const TokenBatch batch = window_batch(five, 1, 2);
  EXPECT_EQ(batch.ids, std::vector<int64_t>(five.ids.begin() + 10, five.ids.begin() + 30));
  EXPECT_THAT(batch.offsets, ElementsAre(0, 10, 20));
}

TEST(PerplexityJson, SaysMeanErrorAndBits) {
  TextWindows windows;
  windows.length = 5;
  windows.bytes = {10, 14};
  const std::vector<WindowLoss> losses = {{2.0, 5.0}, {4.0, 1.0}};
  const Json json = perplexity_json(windows, losses);
  EXPECT_DOUBLE_EQ(json.at("nll"), 3.0);
  EXPECT_DOUBLE_EQ(json.at("nll_se"), 1.0) << "sample deviation sqrt(2) over sqrt(2)";
  EXPECT_DOUBLE_EQ(json.at("perplexity"), std::exp(3.0));
  EXPECT_DOUBLE_EQ(json.at("perplexity_se"), std::exp(3.0));
  EXPECT_DOUBLE_EQ(json.at("nll_without_position0"), (3.0 + 15.0) / 6) << "8 - 5 and 16 - 1, over 3 each";
  EXPECT_DOUBLE_EQ(json.at("nll_position0"), 3.0);
  EXPECT_DOUBLE_EQ(json.at("bits_per_byte"), 24.0 / std::log(2) / 24);
  EXPECT_EQ(json.at("bytes"), 24);

  const Json difference = difference_json(windows, losses, {{1.5, 5.0}, {3.0, 1.0}, {9.0, 9.0}});
  EXPECT_DOUBLE_EQ(difference.at("dnll"), 0.75);
  EXPECT_DOUBLE_EQ(difference.at("dnll_se"), 0.25);
  EXPECT_DOUBLE_EQ(difference.at("dnll_without_position0"), (2.0 / 3 + 4.0 / 3) / 2);

  windows.length = 2;
  windows.bytes = {4};
  const Json one = perplexity_json(windows, {{2.0, 2.0}});
  EXPECT_TRUE(one.at("nll_se").is_null() && one.at("perplexity_without_position0").is_null());
}

}  // namespace
}  // namespace spikescope
