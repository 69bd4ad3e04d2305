#include "capture/capture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../golden.h"
#include "../tiny_model.h"
#include "base/error.h"
#include "capture/prompts.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    checkpoint_ = Checkpoint::open(folder_ / "tiny");
    tokens_.ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 40, 41};
    tokens_.offsets = {0, 20, 22};
    tokens_.strings.resize(22);
    tokens_.prompts = {Json::object(), Json::object()};
  }
  CaptureSummary run(const CaptureRequest& request, const std::string& name = "out") {
    return capture(*checkpoint_, tokens_, {}, request, folder_ / name, {});
  }
  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  DumpTokens tokens_;
};

TEST_F(CaptureTest, SelectsPointsInTheOrderOfThePass) {
  const auto names = [&](std::vector<std::string> globs) {
    std::vector<std::string> result;
    for (const HookPoint& point : select_points(checkpoint_->architecture(), globs)) result.push_back(point.name());
    return result;
  };
  EXPECT_THAT(names({"logits", "blocks.1.resid_post", "embed", "blocks.*.resid_post"}),
              ElementsAre("embed", "blocks.0.resid_post", "blocks.1.resid_post", "blocks.2.resid_post", "logits"));
  EXPECT_EQ(names({"*"}).size(), hook_points(checkpoint_->architecture()).size());
  EXPECT_TRUE(names({}).empty());
  EXPECT_THROW(names({"blocks.7.resid_post"}), UsageError);
  EXPECT_THROW(names({"blocks.0.mlp.router_logits"}), UsageError);
  EXPECT_THROW(names({"bolcks.*"}), UsageError);
}

TEST_F(CaptureTest, RandomFirstTokensChangeNothingElse) {
  const CaptureRequest request{
      .points = {"blocks.1.resid_post"}, .sinks = true, .writers = true, .losses = true, .storage = {}};
  run(request, "plain");
  const std::vector<int64_t> ids = tokens_.ids;
  add_random_first(tokens_, 5, 40, 1, nullptr);
  run(request, "random");
  const DumpReader plain(folder_ / "plain"), random(folder_ / "random");
  EXPECT_EQ(plain.random_first(), 0);
  EXPECT_EQ(random.random_first(), 5);
  EXPECT_EQ(random.tokens().ids, ids);
  EXPECT_EQ(random.tokens().prompts.size(), 2u);
  const HookPoint point{Point::resid_post, 1};
  EXPECT_EQ(random.read(point, 0, 22), plain.read(point, 0, 22));
  EXPECT_EQ(random.read(point, 22, 5).size(), 5u * static_cast<size_t>(random.d_model()));
  for (int64_t block = 0; block < plain.n_layers(); ++block) {
    const SinkStatistics a = plain.sinks(block), b = random.sinks(block);
    EXPECT_EQ(a.column_sums, b.column_sums);
    EXPECT_EQ(a.late_column_sums, b.late_column_sums);
    EXPECT_EQ(a.entropy, b.entropy);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.columns, b.columns);
    EXPECT_EQ(a.values, b.values);
    const WriterRows c = plain.writers(block), d = random.writers(block);
    EXPECT_EQ(c.tokens, d.tokens);
    EXPECT_EQ(c.attention, d.attention);
    EXPECT_EQ(c.mlp, d.mlp);
    EXPECT_EQ(c.mlp_post, d.mlp_post);
  }
  EXPECT_EQ(random.losses().size(), 22u);
  EXPECT_EQ(random.losses()[0], plain.losses()[0]);
}

TEST_F(CaptureTest, TheDumpHoldsWhatThePassComputed) {
  const CaptureSummary summary = run({.points = {"*"}, .sinks = true, .writers = true, .losses = true, .storage = {}});
  EXPECT_EQ(summary.tokens, 22);
  EXPECT_EQ(summary.points.size(), hook_points(checkpoint_->architecture()).size());
  EXPECT_GT(summary.dump_bytes, 0);

  const TokenBatch batch{tokens_.ids, tokens_.offsets};
  testing::Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("*", recorder.observer());
  PassObserver none;
  run_model(checkpoint_->weights(), batch, hooks, none);
  const DumpReader dump(folder_ / "out");
  for (const HookPoint& point : hook_points(checkpoint_->architecture())) {
    EXPECT_TRUE(dump.has(point)) << point.name();
    if (point.kind().shape != PointShape::square) {
      EXPECT_EQ(dump.read(point, 0, 22), recorder.at(point.name()).values) << point.name();
    }
  }
  EXPECT_EQ(dump.losses().size(), 22u);
  for (int block = 0; block < 3; ++block) {
    const SinkStatistics sinks = dump.sinks(block);
    ASSERT_GE(sinks.tokens.size(), 2u);
    // Attention that key 0 of prompt 1 gets from its only later query.
    const auto& pattern = recorder.at(HookPoint{Point::pattern, block}.name() + "/1").values;
    for (int64_t head = 0; head < 4; ++head)
      EXPECT_NEAR(sinks.column_sums[static_cast<size_t>(head * 22 + 20)], pattern[static_cast<size_t>(head * 4 + 2)],
                  1e-6);
  }
}

TEST_F(CaptureTest, WhatIsNotAskedForIsNotThere) {
  run({.points = {"blocks.1.attn.z"}, .sinks = false, .writers = false, .losses = false, .storage = {}});
  const DumpReader dump(folder_ / "out");
  EXPECT_TRUE(dump.has({Point::z, 1}));
  EXPECT_FALSE(dump.has({Point::z, 0}));
  EXPECT_FALSE(dump.has({Point::resid_post, 1}));
  EXPECT_FALSE(dump.has_sinks());
  EXPECT_FALSE(dump.has_writers());
  EXPECT_TRUE(dump.losses().empty());
}

TEST_F(CaptureTest, CompressedAndHalfDumpsReadTheSameWithinTheirPrecision) {
  run({.points = {"blocks.2.resid_post"}, .storage = {}}, "plain");
  run({.points = {"blocks.2.resid_post"}, .storage = {.storage = "float32", .gzip = 4}}, "packed");
  run({.points = {"blocks.2.resid_post"}, .storage = {.storage = "float16", .gzip = 0}}, "half");
  const auto values = [&](const char* name) { return DumpReader(folder_ / name).read({Point::resid_post, 2}, 0, 22); };
  const std::vector<float> plain = values("plain"), half = values("half");
  EXPECT_EQ(values("packed"), plain);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(half[i], plain[i], 1e-3 * std::abs(plain[i]) + 1e-6);
}

TEST_F(CaptureTest, ProgressGoesFromZeroToOne) {
  std::vector<double> fractions;
  capture(*checkpoint_, tokens_, {}, {.points = {"blocks.*.resid_post"}, .storage = {}}, folder_ / "out",
          [&](double fraction) { fractions.push_back(fraction); });
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_EQ(fractions.back(), 1.0);
}

}  // namespace
}  // namespace spikescope
