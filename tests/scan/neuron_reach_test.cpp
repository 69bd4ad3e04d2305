#include "scan/neuron_reach.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "model/mlp.h"
#include "model/norm.h"

namespace spikescope {
namespace {

constexpr int64_t kWidth = 12, kD = 16;

struct Case {
  Activator activation;
  bool gated, centered, biased;
  float spread;
};

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  std::string name(activator_name(c.activation));
  std::erase_if(name, [](char letter) { return !std::isalnum(static_cast<unsigned char>(letter)); });
  return name + (c.gated ? "Gated" : "Plain") + (c.centered ? "Layer" : "Rms") + (c.biased ? "Biased" : "") +
         (c.spread > 1.0f ? "Large" : "Small");
}

class NeuronReachTest : public ::testing::TestWithParam<Case> {
 protected:
  std::vector<float> random_values(int64_t count, float spread, float center = 0.0f) {
    std::normal_distribution<float> normal(center, spread);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }
  MlpInput input() {
    const Case& c = GetParam();
    MlpInput made;
    made.d = kD;
    made.activation = c.activation;
    made.up = random_values(kWidth * kD, c.spread);
    if (c.gated) made.gate = random_values(kWidth * kD, c.spread);
    made.gain = random_values(kD, 0.3f, 1.0f);
    made.centered = c.centered;
    if (c.biased) {
      made.shift = random_values(kD, 0.5f);
      made.up_bias = random_values(kWidth, c.spread);
      if (c.gated) made.gate_bias = random_values(kWidth, c.spread);
    }
    return made;
  }
  /// The activations of all neurons for a residual state, as the pass computes them.
  static std::vector<float> activations(const MlpInput& input, const std::vector<float>& state) {
    std::vector<float> n(kD), gate(kWidth), up(kWidth), post(kWidth);
    const float* shift = input.shift.empty() ? nullptr : input.shift.data();
    if (input.centered)
      layer_norm(state.data(), 1, kD, kD, input.gain.data(), shift, 1e-5, n.data(), kD);
    else
      rms_norm(state.data(), 1, kD, kD, input.gain.data(), 1e-5, n.data(), kD);
    if (!input.centered && shift)
      for (int64_t i = 0; i < kD; ++i) n[static_cast<size_t>(i)] += shift[i];
    const auto product = [&](const std::vector<float>& matrix, const std::vector<float>& bias, int64_t j) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(j)];
      for (int64_t i = 0; i < kD; ++i)
        sum += double{matrix[static_cast<size_t>(j * kD + i)]} * n[static_cast<size_t>(i)];
      return static_cast<float>(sum);
    };
    for (int64_t j = 0; j < kWidth; ++j) {
      up[static_cast<size_t>(j)] = product(input.up, input.up_bias, j);
      if (!input.gate.empty()) gate[static_cast<size_t>(j)] = product(input.gate, input.gate_bias, j);
    }
    if (input.gate.empty())
      plain_activation(input.activation, up.data(), 1, kWidth, kWidth, post.data(), kWidth);
    else
      gated_activation(input.activation, gate.data(), up.data(), 1, kWidth, kWidth, kWidth, post.data(), kWidth);
    return post;
  }

  std::mt19937 random_{17};
};

TEST_P(NeuronReachTest, IsNeverExceeded) {
  const MlpInput mlp = input();
  const std::vector<NeuronReach> reaches = neuron_reaches(mlp);
  ASSERT_EQ(reaches.size(), static_cast<size_t>(kWidth));
  for (int trial = 0; trial < 4000; ++trial) {
    std::vector<float> state = random_values(kD, 1.0f);
    // Also states near a neuron's own directions, where it goes furthest, and spikes.
    const int64_t j = trial % kWidth;
    if (trial % 3 == 1)
      for (int64_t i = 0; i < kD; ++i) {
        const auto at = static_cast<size_t>(j * kD + i);
        const float of_gate = mlp.gate.empty() ? 0.0f : mlp.gate[at];
        state[static_cast<size_t>(i)] =
            0.1f * state[static_cast<size_t>(i)] +
            (of_gate + (trial % 2 ? 1.0f : -1.0f) * mlp.up[at]) * mlp.gain[static_cast<size_t>(i)];
      }
    if (trial % 3 == 2) state[static_cast<size_t>(trial) % kD] = 1e4f;
    const std::vector<float> post = activations(mlp, state);
    for (size_t k = 0; k < post.size(); ++k) {
      const double slack = 1e-5 * reaches[k].largest() + 1e-6;
      ASSERT_LE(post[k], reaches[k].up + slack) << "neuron " << k;
      ASSERT_GE(post[k], -reaches[k].down - slack) << "neuron " << k;
    }
  }
}

TEST_P(NeuronReachTest, IsReachedWhereTheActivationKeepsNothingBack) {
  const Case& c = GetParam();
  if (c.biased || c.spread < 1.0f) return;  // the bound is not tight with constants, or with small inputs
  const MlpInput mlp = input();
  const std::vector<NeuronReach> reaches = neuron_reaches(mlp);
  const auto folded = [&](const std::vector<float>& matrix, int64_t j) {
    std::vector<double> row;
    double mean = 0.0, length = 0.0;
    for (int64_t i = 0; i < kD; ++i)
      row.push_back(double{matrix[static_cast<size_t>(j * kD + i)]} * mlp.gain[static_cast<size_t>(i)]);
    if (mlp.centered)
      for (const double value : row) mean += value / kD;
    for (double& value : row) {
      value -= mean;
      length += value * value;
    }
    for (double& value : row) value /= std::sqrt(length);
    return row;
  };
  for (int64_t j = 0; j < kWidth; ++j) {
    const std::vector<double> u = folded(mlp.up, j), g = mlp.gate.empty() ? u : folded(mlp.gate, j);
    for (const double side : {1.0, -1.0}) {
      if (mlp.gate.empty() && side < 0.0) continue;
      std::vector<float> state(kD);
      for (size_t i = 0; i < state.size(); ++i) state[i] = static_cast<float>(100.0 * (g[i] + side * u[i]));
      const float post = activations(mlp, state)[static_cast<size_t>(j)];
      const NeuronReach& reach = reaches[static_cast<size_t>(j)];
      EXPECT_NEAR(side * post, side > 0.0 ? reach.up : reach.down, 0.02 * reach.largest()) << "neuron " << j;
    }
  }
}

TEST_P(NeuronReachTest, GoesWithTheNeuron) {
  const MlpInput mlp = input();
  MlpInput reversed = mlp;
  const auto reverse = [](std::vector<float>& matrix, int64_t columns) {
    std::vector<float> other;
    for (auto row = static_cast<int64_t>(matrix.size()) / columns; row-- > 0;)
      other.insert(other.end(), matrix.begin() + row * columns, matrix.begin() + (row + 1) * columns);
    matrix = other;
  };
  reverse(reversed.gate, kD);
  reverse(reversed.up, kD);
  reverse(reversed.gate_bias, 1);
  reverse(reversed.up_bias, 1);
  const std::vector<NeuronReach> a = neuron_reaches(mlp), b = neuron_reaches(reversed);
  for (size_t j = 0; j < a.size(); ++j) {
    EXPECT_EQ(a[j].up, b[a.size() - 1 - j].up);
    EXPECT_EQ(a[j].down, b[a.size() - 1 - j].down);
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Activator activation :
       {Activator::silu, Activator::gelu, Activator::gelu_tanh, Activator::quick_gelu, Activator::relu})
    for (const bool gated : {true, false})
      for (const bool centered : {true, false})
        for (const bool biased : {true, false})
          for (const float spread : {0.1f, 3.0f}) all.push_back({activation, gated, centered, biased, spread});
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, NeuronReachTest, ::testing::ValuesIn(cases()), case_name);

TEST(NeuronReach, LeansWhereGateAndUpAgree) {
  MlpInput mlp;
  mlp.d = 2;
  mlp.gate = {1, 0, 1, 0, 1, 0};
  mlp.up = {1, 0, -1, 0, 0, 1};
  const std::vector<NeuronReach> reaches = neuron_reaches(mlp);
  EXPECT_NEAR(reaches[0].lean(), 1.0, 0.5);
  EXPECT_GT(reaches[0].lean(), 0.0);
  EXPECT_LT(reaches[1].lean(), 0.0);
  EXPECT_NEAR(reaches[2].lean(), 0.0, 1e-12);
  EXPECT_NEAR(reaches[0].up, 2.0, 1e-12);  // (1 + 1) / 2 * d
  EXPECT_NEAR(reaches[2].up, 1.0, 1e-12);
}

}  // namespace
}  // namespace spikescope
