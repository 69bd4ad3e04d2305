// Prompts that share the rows of their beginning give what whole prompts give.

#include <gmock/gmock.h>

#include "../error_of.h"
#include "../golden.h"
#include "families/checkpoint.h"

namespace spikescope {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

constexpr int64_t kShared = 11, kOwn = 5;

std::vector<int64_t> golden_ids(const std::string& model) {
  const SafetensorsFile golden = read_safetensors(testing::golden_model(model) / "golden.safetensors");
  return testing::raw_values<int64_t>(golden.tensors.require("input_ids"));
}

/// The end of the golden prompt, and the same backwards.
std::vector<std::vector<int64_t>> endings(const std::vector<int64_t>& ids) {
  const std::vector<int64_t> one(ids.begin() + kShared, ids.begin() + kShared + kOwn);
  return {one, {one.rbegin(), one.rend()}, one};
}

class SharedBeginning : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedBeginning, GivesWhatWholePromptsGive) {
  const auto checkpoint = Checkpoint::open(testing::golden_model(GetParam()));
  const std::vector<int64_t> ids = golden_ids(GetParam());
  ASSERT_GE(static_cast<int64_t>(ids.size()), kShared + kOwn);
  const std::vector<int64_t> beginning(ids.begin(), ids.begin() + kShared);
  // Another prompt before them, so that rows and positions differ; groups that would end between them.
  TokenBatch whole{{ids[3], ids[1]}, {0, 2}}, shared{{ids[3], ids[1]}, {0, 2}};
  shared.ids.insert(shared.ids.end(), beginning.begin(), beginning.end());
  shared.offsets.push_back(2 + kShared);
  shared.parents = {-1, -1};
  RunOptions one, other;
  one.group_rows = other.group_rows = 8;
  for (const std::vector<int64_t>& ending : endings(ids)) {
    const auto begin = static_cast<int64_t>(whole.ids.size()), own = static_cast<int64_t>(shared.ids.size());
    whole.ids.insert(whole.ids.end(), beginning.begin(), beginning.end());
    whole.ids.insert(whole.ids.end(), ending.begin(), ending.end());
    whole.offsets.push_back(static_cast<int64_t>(whole.ids.size()));
    shared.ids.insert(shared.ids.end(), ending.begin(), ending.end());
    shared.offsets.push_back(static_cast<int64_t>(shared.ids.size()));
    shared.parents.push_back(1);
    for (int64_t i = 0; i + 1 < kOwn; ++i) {
      one.predictions.push_back({begin + kShared + i, ending[static_cast<size_t>(i) + 1]});
      other.predictions.push_back({own + i, ending[static_cast<size_t>(i) + 1]});
    }
  }
  EXPECT_EQ(whole.ids.size(), 2u + 3 * (kShared + kOwn));
  EXPECT_EQ(shared.ids.size(), 2u + kShared + 3 * kOwn) << "rows computed";
  PassObserver none;
  const std::vector<float> expected = run_model(checkpoint->weights(), whole, {}, none, one).losses;
  const std::vector<float> found = run_model(checkpoint->weights(), shared, {}, none, other).losses;
  ASSERT_EQ(found.size(), expected.size());
  ASSERT_EQ(found.size(), 3u * (kOwn - 1));
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 2e-5 * std::abs(expected[i])) << i;
  EXPECT_NE(found[0], found[kOwn - 1]) << "the endings differ";
}

INSTANTIATE_TEST_SUITE_P(Families, SharedBeginning,
                         ::testing::Values("llama_yarn_rope", "gemma2", "gemma3_text", "falcon_alibi", "mpt", "opt",
                                           "gpt_neox", "mixtral", "deepseek_v3", "smollm3", "olmo2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Predictions, AreScoredBehindAnyRow) {
  const auto checkpoint = Checkpoint::open(testing::golden_model("gpt_neox"));
  const std::vector<int64_t> ids = golden_ids("gpt_neox");
  const TokenBatch batch{ids, {0, 9, static_cast<int64_t>(ids.size())}};
  PassObserver none;
  const std::vector<float> next = run_model(checkpoint->weights(), batch, {}, none, {.losses = true}).losses;
  ASSERT_EQ(next.size(), ids.size());
  EXPECT_TRUE(std::isnan(next[8]) && std::isnan(next.back()));
  RunOptions options;
  options.predictions = {{2, ids[3]}, {2, ids[4]}, {11, ids[12]}};
  const std::vector<float> some = run_model(checkpoint->weights(), batch, {}, none, options).losses;
  ASSERT_EQ(some.size(), 3u);
  EXPECT_EQ(some[0], next[2]);
  EXPECT_NE(some[1], next[2]);
  EXPECT_EQ(some[2], next[11]);

  // Hooks on the way see every row all the same, and what they write counts.
  int64_t rows = 0;
  Hooks hooks;
  hooks.observe("logits", [&](const Activation& a) { rows += a.values.rows(); });
  hooks.intervene("ln_final.out", [](const Activation& a) {
    if (a.first_row <= 2 && a.first_row + a.values.rows() > 2)
      std::fill_n(a.values.row(2 - a.first_row), a.values.row_size(), 0.0f);
  });
  const std::vector<float> changed = run_model(checkpoint->weights(), batch, hooks, none, options).losses;
  EXPECT_EQ(rows, static_cast<int64_t>(ids.size()));
  EXPECT_NE(changed[0], some[0]);
  EXPECT_EQ(changed[2], some[2]);

  const auto refuses = [&](std::vector<Prediction> predictions) {
    options.predictions = std::move(predictions);
    return error_of([&] { run_model(checkpoint->weights(), batch, {}, none, options); });
  };
  EXPECT_THAT(refuses({{3, 0}, {2, 0}}), HasSubstr("ascending"));
  EXPECT_THAT(refuses({{static_cast<int64_t>(ids.size()), 0}}), HasSubstr("ascending"));
  EXPECT_THAT(refuses({{0, 1 << 20}}), HasSubstr("outside the vocabulary"));
}

class WantsSinks : public PassObserver {
 public:
  bool wants_sinks() const override { return true; }
};

TEST(SharedBeginning, IsRefusedWhereItMakesNoSense) {
  const auto checkpoint = Checkpoint::open(testing::golden_model("gpt_neox"));
  const auto error = [&](const TokenBatch& batch, const Hooks& hooks, PassObserver& observer) {
    return error_of([&] { run_model(checkpoint->weights(), batch, hooks, observer); });
  };
  const TokenBatch good{{1, 2, 3, 4}, {0, 2, 3, 4}, {}, {-1, 0, 0}};
  PassObserver none;
  WantsSinks sinks;
  Hooks squares;
  squares.observe("blocks.1.attn.pattern", [](const Activation&) {});
  EXPECT_EQ(error(good, {}, none), "");
  EXPECT_THAT(error(good, {}, sinks), HasSubstr("sink statistics of prompts that share their beginning"));
  EXPECT_THAT(error(good, squares, none), HasSubstr("attn.scores and attn.pattern"));
  TokenBatch bad = good;
  bad.parents = {-1, 0};
  EXPECT_THAT(error(bad, {}, none), HasSubstr("2 parents for 3 prompts"));
  bad.parents = {-1, -1, 0};
  EXPECT_THAT(error(bad, {}, none), HasSubstr("prompt 2 goes on from prompt 0; expected 1"));
  bad.parents = {-1, 0, 1};
  EXPECT_THAT(error(bad, {}, none), HasSubstr("expected 0"));
  bad.parents = {0, -1, -1};
  EXPECT_THAT(error(bad, {}, none), HasSubstr("expected -1"));

  const auto encoder = Checkpoint::open(testing::golden_model("bert"));
  EXPECT_THAT(error_of([&] { run_model(encoder->weights(), good, {}, none); }),
              HasSubstr("would see what comes after"));
}

}  // namespace
}  // namespace spikescope
