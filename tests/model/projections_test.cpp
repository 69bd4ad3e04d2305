// Latent attention's projections and a mixture of experts, each against its definition in double.

#include <gtest/gtest.h>

#include <cmath>

#include "model/experts.h"
#include "model/latent_attention.h"
#include "model/linear.h"
#include "random_weights.h"

namespace spikescope {
namespace {

using Vector = std::vector<double>;

constexpr int64_t kRows = 70, kD = 8, kHeads = 4, kStill = 3, kTurned = 2, kValue = 6;

/// One block of DeepSeek's kind. q_rank 0: queries come from the input directly, as in V2 Lite.
Architecture deepseek(int64_t q_rank) {
  Architecture a;
  a.n_layers = 1;
  a.d_model = kD;
  a.n_heads = a.n_kv_heads = kHeads;
  a.head_dim = kStill + kTurned;
  a.v_head_dim = kValue;
  a.mlp_width = 10;
  a.vocabulary = 7;
  a.latent = {.q_rank = q_rank, .kv_rank = 4};
  a.ropes = {{.first = kStill, .dims = kTurned, .frequencies = {1.0}}};
  a.experts = {.count = 5, .per_token = 2, .width = 9, .shared_width = 11};
  a.blocks = {{.experts = true}};
  return a;
}

std::vector<float> inputs() {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * kD);
  for (float& value : x) value = normal(random);
  return x;
}

Vector normed(const testing::RandomWeights& weights, Role gain, Vector x) {
  const std::vector<float> gains = weights.values({gain, 0});
  double squares = 0.0;
  for (const double value : x) squares += value * value;
  for (size_t i = 0; i < x.size(); ++i) x[i] *= gains[i] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
  return x;
}

/// Layers whose weights have few bits of mantissa, all of them, and few again: a layer's values are the same, to the
/// bit, whatever was loaded before it.
TEST(LinearLayer, LoadsWeightsOfMoreBitsThanTheLayerBefore) {
  Architecture a;
  a.n_layers = 3;
  a.d_model = 40;
  a.n_heads = a.n_kv_heads = 2;
  a.head_dim = 20;
  a.mlp_width = 50;
  a.vocabulary = 7;
  a.blocks.resize(3);
  const testing::RandomWeights weights(a, [](const WeightKey& key, float value) {
    return key.layer == 1 ? value : std::ldexp(std::nearbyint(std::ldexp(value, 6)), -6);
  });
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(kRows * a.d_model));
  for (float& value : x) value = normal(random);
  Linear kept;
  for (int layer = 0; layer < a.n_layers; ++layer) {
    const std::vector<WeightKey> keys = {{Role::w_up, layer}};
    Linear fresh;
    kept.load(weights.weights(), keys);
    fresh.load(weights.weights(), keys);
    std::vector<float> out(static_cast<size_t>(kRows * fresh.out())), same(out);
    kept({x.data(), kRows, a.d_model, a.d_model}, {out.data(), kRows, kept.out(), kept.out()});
    fresh({x.data(), kRows, a.d_model, a.d_model}, {same.data(), kRows, fresh.out(), fresh.out()});
    EXPECT_EQ(out, same) << layer;
    const std::vector<float> w = weights.values(keys[0]);
    double sum = 0.0;
    for (int64_t i = 0; i < a.d_model; ++i)
      sum += static_cast<double>(x[static_cast<size_t>(i)]) * w[static_cast<size_t>(i)];
    EXPECT_NEAR(out[0], sum, 1e-5) << layer;
  }
}

class Latent : public ::testing::TestWithParam<int64_t> {};

TEST_P(Latent, QueriesKeysAndValuesAreThoseOfTheDefinition) {
  const Architecture a = deepseek(GetParam());
  const testing::RandomWeights weights(a);
  LatentProjections projections;
  projections.load(weights.weights(), 0);
  std::vector<float> x = inputs();
  const int64_t width = a.q_size() + a.k_size() + a.v_size();
  std::vector<float> out(static_cast<size_t>(kRows * width));
  projections(a, {x.data(), kRows, kD, kD}, {out.data(), kRows, width, width});
  for (int64_t row = 0; row < kRows; ++row) {
    const Vector input(x.begin() + row * kD, x.begin() + (row + 1) * kD);
    const Vector q = weights.product(
        {Role::w_q, 0},
        a.latent.q_rank > 0 ? normed(weights, Role::q_a_norm, weights.product({Role::w_q_a, 0}, input)) : input);
    const Vector low = weights.product({Role::w_kv_a, 0}, input);
    const Vector kv =
        weights.product({Role::w_kv_b, 0}, normed(weights, Role::kv_a_norm, Vector(low.begin(), low.begin() + 4)));
    Vector expected = q;
    for (int64_t head = 0; head < kHeads; ++head) {
      const auto begin = kv.begin() + head * (kStill + kValue);
      expected.insert(expected.end(), begin, begin + kStill);
      expected.insert(expected.end(), low.begin() + 4, low.end());
    }
    for (int64_t head = 0; head < kHeads; ++head) {
      const auto end = kv.begin() + (head + 1) * (kStill + kValue);
      expected.insert(expected.end(), end - kValue, end);
    }
    ASSERT_EQ(static_cast<int64_t>(expected.size()), width);
    for (int64_t i = 0; i < width; ++i) EXPECT_NEAR(out[row * width + i], expected[i], 2e-5) << row << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Latent, ::testing::Values(3, 0));

TEST(ExpertMlps, AreTheWeightedSumOfThoseChosenAndTheSharedOnes) {
  const Architecture a = deepseek(0);
  const testing::RandomWeights weights(a);
  const std::vector<float> x = inputs();
  ExpertMlps experts(weights.weights());
  const ConstMatrixView input{x.data(), kRows, kD, kD};
  const Routing routing = experts.route(0, experts.logits(0, input));
  std::vector<float> out(x.size(), NAN);
  experts(0, routing, input, {out.data(), kRows, kD, kD});

  const auto mlp = [&](Role gate, Role up, Role down, int expert, const Vector& row) {
    Vector hidden = weights.product({gate, 0, expert}, row);
    const Vector ups = weights.product({up, 0, expert}, row);
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i] *= ups[i] / (1.0 + std::exp(-hidden[i]));
    return weights.product({down, 0, expert}, hidden);
  };
  std::vector<int> visits(5);
  for (int64_t row = 0; row < kRows; ++row) {
    const Vector values(x.begin() + row * kD, x.begin() + (row + 1) * kD);
    const Vector logits = weights.product({Role::router, 0}, values);
    for (int64_t e = 0; e < 5; ++e) EXPECT_NEAR(routing.logits[row * 5 + e], logits[e], 1e-5);
    Vector sum = mlp(Role::shared_gate, Role::shared_up, Role::shared_down, -1, values);
    for (int64_t i = 2 * row; i < 2 * row + 2; ++i) {
      const int expert = static_cast<int>(routing.indices[i]);
      ++visits[static_cast<size_t>(expert)];
      const Vector one = mlp(Role::expert_gate, Role::expert_up, Role::expert_down, expert, values);
      for (int64_t c = 0; c < kD; ++c) sum[c] += routing.weights[i] * one[c];
    }
    for (int64_t c = 0; c < kD; ++c) EXPECT_NEAR(out[row * kD + c], sum[c], 2e-5);
  }
  for (const int count : visits) EXPECT_GT(count, 0) << "every expert has its turn in this test";
}

}  // namespace
}  // namespace spikescope
