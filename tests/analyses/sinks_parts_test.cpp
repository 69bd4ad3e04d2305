// The spike sets of the blocks and the implicit bias.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "analyses/sinks/bias.h"
#include "analyses/spike_sets.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SpikeSets, LatestFallsBackToEarlierSpikesAndToTheFirstToken) {
  std::vector<LayerScan> layers(5);
  for (LayerScan& layer : layers) layer.spikes.resize(2);
  layers[1].spikes[0] = {{2, 10.0, {{5, 100.0f}}}, {6, 10.0, {{5, 100.0f}}}};
  layers[3].spikes[0] = {{0, 10.0, {{5, 100.0f}}}};
  const auto sets = spike_sets(layers);
  ASSERT_EQ(sets.size(), 4u);  // r_4 enters no block
  EXPECT_THAT(sets[0][0].tokens, IsEmpty());
  EXPECT_THAT(sets[0][0].latest, ElementsAre(0));
  EXPECT_THAT(sets[1][0].tokens, ElementsAre(2, 6));
  EXPECT_THAT(sets[1][0].latest, ElementsAre(2, 6));
  EXPECT_THAT(sets[2][0].tokens, IsEmpty());
  EXPECT_THAT(sets[2][0].latest, ElementsAre(2, 6));
  EXPECT_THAT(sets[3][0].tokens, ElementsAre(0));
  EXPECT_THAT(sets[3][0].latest, ElementsAre(0));
  for (const auto& block : sets) {
    EXPECT_THAT(block[1].tokens, IsEmpty());
    EXPECT_THAT(block[1].latest, ElementsAre(0));
  }
}

/// Four heads in two groups, head_dim 1, d = 2: head h writes its value into dimension h % 2.
struct BiasCase {
  SinkStatistics sinks;
  Weight w_o;

  BiasCase() {
    sinks.heads = 4;
    sinks.kv_heads = 2;
    sinks.head_dim = 1;
    w_o.rows = 2;
    w_o.columns = 4;
    w_o.values = {1, 0, 1, 0,   // dimension 0 reads heads 0, 2
                  0, 1, 0, 1};  // dimension 1 reads heads 1, 3
  }
  PromptBias bias(const std::vector<int64_t>& spikes) const { return PromptBias(sinks, w_o, spikes, 0); }
  void keep(int64_t prompt, int64_t token, std::vector<float> columns, std::vector<float> values) {
    sinks.tokens.push_back({prompt, token});
    sinks.columns.push_back(std::move(columns));
    sinks.values.insert(sinks.values.end(), values.begin(), values.end());
  }
};

TEST(PromptBias, ByHand) {
  BiasCase c;
  // Queries 0, 1, 2. Heads 0 and 1 read the value 10 of KV head 0, heads 2 and 3 the value -2 of KV head 1.
  c.keep(0, 0, {1, 1, 1, 1, 0.5f, 0.1f, 0.5f, 0, 0.4f, 0.4f, 0, 0}, {10, -2});
  // B_1 = (0.5 * 10 - 0.5 * 2, 0.1 * 10) = (4, 1); B_2 = (4, 4).
  const PromptBias bias = c.bias({0});
  std::vector<double> sum = {1, 0};
  bias.add_sum(sum, 1);
  EXPECT_NEAR(sum[0], 9.0, 1e-5);
  EXPECT_NEAR(sum[1], 5.0, 1e-5);
  const std::vector<float> attn_out = {9, 9, 0, 2 * std::sqrt(17.0f), 8, 0};
  const BiasShare share = bias.share(attn_out, std::vector<double>{3, 0}, 1);
  EXPECT_EQ(share.ratio_queries, 2);
  EXPECT_NEAR(share.ratio, 0.5 + std::sqrt(32.0) / 8, 1e-6);
  EXPECT_EQ(share.biased_queries, 2);
  EXPECT_NEAR(share.cosine, 4 / std::sqrt(17.0) + std::sqrt(0.5), 1e-6);
}

TEST(PromptBias, SumsOverTheSpikesOfThisPromptOnly) {
  BiasCase c;
  c.keep(0, 0, {1, 0, 0, 0, 0.5f, 0, 0, 0}, {2, 0});  // B_1 += (1, 0)
  c.keep(0, 1, {0, 0, 0, 0, 0, 0.5f, 0, 0}, {6, 0});  // B_1 += (0, 3)
  c.keep(0, 3, {9, 9, 9, 9, 9, 9, 9, 9}, {9, 9});     // no spike
  c.keep(1, 0, {9, 9, 9, 9, 9, 9, 9, 9}, {9, 9});     // of another prompt
  std::vector<double> sum(2);
  c.bias({0, 1}).add_sum(sum, 1);
  EXPECT_THAT(sum, ElementsAre(1.0, 3.0));
  EXPECT_NEAR(c.bias({0, 1}).share(std::vector<float>{1, 1, 0, 5}, sum, 1).ratio, std::sqrt(10.0) / 5, 1e-6);
}

TEST(PromptBias, UndefinedWithoutQueriesOutputOrSpikes) {
  BiasCase c;
  c.keep(0, 0, {1, 1, 1, 1, 1, 1, 1, 1}, {1, 1});
  const std::vector<double> direction = {1, 0};
  EXPECT_EQ(c.bias({0}).share(std::vector<float>{1, 1, 2, 2}, direction, 2).ratio_queries, 0);
  EXPECT_EQ(c.bias({0}).share(std::vector<float>{1, 1, 0, 0}, direction, 1).ratio_queries, 0);
  const BiasShare none = c.bias({}).share(std::vector<float>{1, 1, 2, 2}, direction, 1);
  EXPECT_EQ(none.ratio_queries, 1);
  EXPECT_EQ(none.ratio, 0.0);
  EXPECT_EQ(none.biased_queries, 0);
}

}  // namespace
}  // namespace spikescope
