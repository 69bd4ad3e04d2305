// Which experts a token goes through, and with what weights.

#include "model/router.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace spikescope {
namespace {

struct Choice {
  std::vector<int64_t> indices;
  std::vector<float> weights;
};

Choice choose(const Experts& experts, const std::vector<float>& logits, const std::vector<float>& bias = {}) {
  Choice choice;
  choice.indices.resize(static_cast<size_t>(experts.per_token));
  choice.weights.resize(choice.indices.size());
  choose_experts(experts, logits.data(), bias.empty() ? nullptr : bias.data(), choice.indices.data(),
                 choice.weights.data());
  return choice;
}

using Indices = std::vector<int64_t>;

TEST(Router, TakesTheHighestOfASoftmaxOverAll) {
  const std::vector<float> logits = {0.0f, 2.0f, -1.0f, 1.0f};
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  const Choice plain = choose({.count = 4, .per_token = 2, .normalized = false}, logits);
  EXPECT_EQ(plain.indices, (Indices{1, 3}));
  EXPECT_NEAR(plain.weights[0], std::exp(2.0) / sum, 1e-7);
  EXPECT_NEAR(plain.weights[1], std::exp(1.0) / sum, 1e-7);

  const Choice normalized = choose({.count = 4, .per_token = 2, .normalized = true, .scale = 1.5}, logits);
  EXPECT_NEAR(normalized.weights[0] + normalized.weights[1], 1.5, 1e-6);
  EXPECT_NEAR(normalized.weights[0] / normalized.weights[1], std::exp(1.0), 1e-6);
}

TEST(Router, OfEqualScoresTheFirstCounts) {
  EXPECT_EQ(choose({.count = 4, .per_token = 3}, {1, 5, 5, 1}).indices, (Indices{1, 2, 0}));
  EXPECT_EQ(choose({.count = 4, .per_token = 4}, {0, 0, 0, 0}).indices, (Indices{0, 1, 2, 3}));
}

TEST(Router, LogitsOfAnySizeGiveFiniteWeights) {
  const Choice choice = choose({.count = 3, .per_token = 2}, {300, -300, 0});
  EXPECT_EQ(choice.indices, (Indices{0, 2}));
  EXPECT_EQ(choice.weights, (std::vector<float>{1.0f, 0.0f}));
  const Experts none = {.count = 2, .per_token = 2, .sigmoid = true};
  for (const float weight : choose(none, {-3e4f, -3e4f}).weights) EXPECT_EQ(weight, 0.0f) << "0 of a sum of 0";
}

TEST(Router, TheBiasMovesTheChoiceButNotTheWeights) {
  const Experts experts = {.count = 3, .per_token = 1, .sigmoid = true, .bias = true, .normalized = false};
  const std::vector<float> logits = {1.0f, 0.0f, -1.0f};
  EXPECT_EQ(choose(experts, logits).indices, (Indices{0}));
  const Choice moved = choose(experts, logits, {0.0f, 0.0f, 0.9f});
  EXPECT_EQ(moved.indices, (Indices{2}));
  EXPECT_NEAR(moved.weights[0], 1.0 / (1.0 + std::exp(1.0)), 1e-7);
}

/// Two groups of three: the first has the best expert, the second the best two together.
TEST(Router, ExpertsComeFromTheBestGroups) {
  Experts experts = {.count = 6, .per_token = 2, .sigmoid = true, .groups = 2, .groups_per_token = 1, .group_best = 1};
  const std::vector<float> logits = {3, -4, -5, 2, 2.5f, -6};
  EXPECT_EQ(choose(experts, logits).indices, (Indices{0, 1}));
  experts.group_best = 2;
  EXPECT_EQ(choose(experts, logits).indices, (Indices{4, 3}));
  experts.groups_per_token = 2;
  EXPECT_EQ(choose(experts, logits).indices, (Indices{0, 4}));
}

}  // namespace
}  // namespace spikescope
