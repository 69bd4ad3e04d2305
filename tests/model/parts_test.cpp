// Norm, RoPE, softmax, activation and products, each against its definition in double.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <random>

#include "model/gemm.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/rope.h"
#include "model/softmax.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

std::vector<float> random_values(size_t count, float spread = 1.0f) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(PowerOfTwo, IsWithinOneUlp) {
  for (double t = -126.0; t <= 127.0; t += 0.00317) {
    const float input = static_cast<float>(t);
    const double expected = std::exp2(static_cast<double>(input));
    EXPECT_NEAR(power_of_two(input), expected, 1.2e-7 * expected) << t;
  }
  for (int n = -126; n <= 127; ++n) EXPECT_EQ(power_of_two(static_cast<float>(n)), std::ldexp(1.0f, n));
}

TEST(Exponential, IsWithinTwoUlp) {
  for (double x = -87.0; x <= 88.0; x += 0.0137) {
    const float input = static_cast<float>(x);
    const double expected = std::exp(static_cast<double>(input));
    EXPECT_NEAR(exponential(input), expected, 2.5e-7 * expected) << x;
  }
  EXPECT_EQ(exponential(-100.0f), 0.0f);
  EXPECT_EQ(exponential(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exponential(0.0f), 1.0f);
}

TEST(RmsNorm, KeepsOrdinaryValuesBesideASpike) {
  const int64_t d = 577;  // no multiple of a vector's width
  std::vector<float> x = random_values(2 * d), gain = random_values(d), out(2 * d);
  x[100] = 23147.1f;
  rms_norm(x.data(), 2, d, d, gain.data(), 1e-5, out.data(), d);
  for (int64_t row = 0; row < 2; ++row) {
    double squares = 0.0;
    for (int64_t i = 0; i < d; ++i) squares += std::pow(static_cast<double>(x[row * d + i]), 2.0);
    for (int64_t i = 0; i < d; ++i) {
      const double expected = x[row * d + i] / std::sqrt(squares / d + 1e-5) * gain[i];
      EXPECT_NEAR(out[row * d + i], expected, 2e-7 * std::abs(expected) + 1e-12);
    }
  }
}

TEST(LayerNorm, KeepsOrdinaryValuesBesideASpike) {
  const int64_t d = 577, rows = 2;
  std::vector<float> x = random_values(rows * d), gain = random_values(d), bias = random_values(2 * d);
  bias.erase(bias.begin(), bias.begin() + d);
  x[100] = 23147.1f;
  for (const float* biases : {static_cast<const float*>(nullptr), static_cast<const float*>(bias.data())}) {
    std::vector<float> out(rows * d);
    layer_norm(x.data(), rows, d, d, gain.data(), biases, 1e-5, out.data(), d);
    for (int64_t row = 0; row < rows; ++row) {
      double mean = 0.0, variance = 0.0;
      for (int64_t i = 0; i < d; ++i) mean += x[row * d + i] / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i) variance += std::pow(x[row * d + i] - mean, 2.0) / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i) {
        const double scaled = (x[row * d + i] - mean) / std::sqrt(variance + 1e-5) * gain[i];
        const double expected = scaled + (biases ? biases[i] : 0.0f);
        EXPECT_NEAR(out[row * d + i], expected, 2e-7 * (std::abs(scaled) + std::abs(expected)) + 1e-12);
      }
    }
  }
}

TEST(SoftmaxRow, NormalisesAndMeasures) {
  std::vector<float> row = random_values(1000, 3.0f);
  std::vector<float> scores = row;
  const SoftmaxRow result = softmax_row(row.data(), 700, 1000, 0.5f);
  for (float& score : scores) score *= 0.5f;
  double sum = 0.0, entropy = 0.0;
  const double largest = *std::max_element(scores.begin(), scores.begin() + 700);
  for (int i = 0; i < 700; ++i) sum += std::exp(scores[i] - largest);
  for (int i = 0; i < 700; ++i) {
    const double p = std::exp(scores[i] - largest) / sum;
    entropy -= p * std::log(p);
    EXPECT_NEAR(row[i] * result.inverse_sum, p, 1e-6 * p + 1e-12);
  }
  EXPECT_NEAR(result.entropy, entropy, 1e-5);
  for (int i = 700; i < 1000; ++i) EXPECT_EQ(row[i], 0.0f);
}

TEST(SoftmaxRow, OneVisibleKeyTakesAll) {
  std::vector<float> row = {-1e30f, 5.0f};
  const SoftmaxRow result = softmax_row(row.data(), 1, 2, 1.0f);
  EXPECT_EQ(row[0] * result.inverse_sum, 1.0f);
  EXPECT_EQ(row[1], 0.0f);
  EXPECT_NEAR(result.entropy, 0.0, 1e-12);
}

TEST(Rope, TurnsHalfSplitPairsByPositionTimesFrequency) {
  Rope rope;
  rope.dims = 8;
  rope.theta = 100.0;
  rope.frequencies = rope_frequencies(100.0, 8);
  EXPECT_NEAR(rope.frequencies[0], 1.0, 1e-12);
  EXPECT_NEAR(rope.frequencies[1], std::pow(100.0, -0.25), 1e-12);
  const RopeTable table(rope, 10);
  const int64_t heads = 2, head_dim = 10;  // two channels are not turned
  std::vector<float> x = random_values(3 * heads * head_dim), turned = x;
  table.rotate(turned.data(), 3, heads * head_dim, heads, head_dim, 4);
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t at = (row * heads + head) * head_dim;
      for (int64_t i = 0; i < 4; ++i) {
        const double angle = (4.0 + row) * rope.frequencies[i];
        EXPECT_NEAR(turned[at + i], x[at + i] * std::cos(angle) - x[at + i + 4] * std::sin(angle), 1e-6);
        EXPECT_NEAR(turned[at + i + 4], x[at + i + 4] * std::cos(angle) + x[at + i] * std::sin(angle), 1e-6);
      }
      EXPECT_EQ(turned[at + 8], x[at + 8]);
      EXPECT_EQ(turned[at + 9], x[at + 9]);
    }
}

TEST(Rope, TurnsNeighboursFromAChannelOn) {
  Rope rope;
  rope.first = 2;
  rope.dims = 4;
  rope.interleaved = true;
  rope.attention_factor = 1.25;
  rope.frequencies = rope_frequencies(100.0, 4);
  const RopeTable table(rope, 4);
  const std::vector<float> x = random_values(7);
  std::vector<float> turned = x;
  table.rotate(turned.data(), 1, 7, 1, 7, 3);
  for (const int untouched : {0, 1, 6}) EXPECT_EQ(turned[untouched], x[untouched]);
  for (int i = 0; i < 2; ++i) {
    const double angle = 3.0 * rope.frequencies[i], a = x[2 + 2 * i], b = x[3 + 2 * i];
    EXPECT_NEAR(turned[2 + 2 * i], 1.25 * (a * std::cos(angle) - b * std::sin(angle)), 1e-6);
    EXPECT_NEAR(turned[3 + 2 * i], 1.25 * (b * std::cos(angle) + a * std::sin(angle)), 1e-6);
  }
}

TEST(Rope, LongRopeHasFactorsForShortAndForLongPrompts) {
  Rope rope;
  rope.dims = 4;
  rope.frequencies = rope_frequencies(100.0, 4);
  const std::vector<double> base = rope.frequencies;
  scale_longrope(rope, {1.0, 2.0}, {4.0, 8.0}, 4.0, 16, 0.0);
  EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1.0 + std::log(4.0) / std::log(16.0)));
  for (const int64_t length : {16, 17}) {
    std::vector<float> turned = {1, 1, 0, 0};
    RopeTable(rope, length).rotate(turned.data(), 1, 4, 1, 4, 5);
    const std::vector<double> factors = length > 16 ? std::vector<double>{4.0, 8.0} : std::vector<double>{1.0, 2.0};
    for (int i = 0; i < 2; ++i) {
      const double angle = 5.0 * base[i] / factors[i];
      EXPECT_NEAR(turned[i], rope.attention_factor * std::cos(angle), 1e-6) << length;
      EXPECT_NEAR(turned[i + 2], rope.attention_factor * std::sin(angle), 1e-6) << length;
    }
  }
  Rope given = rope;
  scale_longrope(given, {1.0, 1.0}, {1.0, 1.0}, 4.0, 16, 1.5);
  EXPECT_EQ(given.attention_factor, 1.5);
}

TEST(Rope, ScalingsDoWhatTheyPromise) {
  Rope base;
  base.dims = 64;
  base.theta = 10000.0;
  base.frequencies = rope_frequencies(base.theta, base.dims);
  Rope linear = base;
  scale_linear(linear, 4.0);
  for (size_t i = 0; i < 32; ++i) EXPECT_DOUBLE_EQ(linear.frequencies[i], base.frequencies[i] / 4.0);

  Rope llama3 = base;
  scale_llama3(llama3, 8.0, 1.0, 4.0, 8192.0);
  EXPECT_DOUBLE_EQ(llama3.frequencies[0], base.frequencies[0]) << "many turns in the original context: kept";
  EXPECT_DOUBLE_EQ(llama3.frequencies[31], base.frequencies[31] / 8.0) << "less than one turn: interpolated";
  for (size_t i = 0; i < 32; ++i) EXPECT_LE(llama3.frequencies[i], base.frequencies[i]);

  Rope yarn = base;
  scale_yarn(yarn, {.factor = 4.0, .original_context = 2048.0});
  EXPECT_DOUBLE_EQ(yarn.frequencies[0], base.frequencies[0]);
  EXPECT_DOUBLE_EQ(yarn.frequencies[31], base.frequencies[31] / 4.0);
  EXPECT_NEAR(yarn.attention_factor, 0.1 * std::log(4.0) + 1.0, 1e-12);
}

TEST(Activations, AgreeWithTheirDefinitions) {
  const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  const std::pair<Activator, std::function<double(double)>> definitions[] = {
      {Activator::silu, [&](double x) { return x * sigmoid(x); }},
      {Activator::gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }},
      {Activator::gelu_tanh,
       [](double x) {
         return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
       }},
      {Activator::quick_gelu, [&](double x) { return x * sigmoid(1.702 * x); }},
      {Activator::relu, [](double x) { return std::max(x, 0.0); }},
  };
  const int64_t rows = 2, width = 301, stride = 310;
  std::vector<float> gate(rows * stride), up = random_values(rows * stride);
  for (int64_t i = 0; i < rows * stride; ++i) gate[i] = -31.0f + 0.1f * static_cast<float>(i);
  for (const auto& [activation, definition] : definitions) {
    std::vector<float> gated(rows * stride, -7.0f), plain = gated;
    gated_activation(activation, gate.data(), up.data(), rows, width, stride, stride, gated.data(), stride);
    plain_activation(activation, gate.data(), rows, width, stride, plain.data(), stride);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = row * stride; i < row * stride + width; ++i) {
        const double value = definition(gate[i]), few_ulp = 5e-7 * std::max(1.0, std::abs(value));
        EXPECT_NEAR(plain[i], value, few_ulp) << activator_name(activation) << " of " << gate[i];
        EXPECT_NEAR(gated[i], value * up[i], few_ulp * std::abs(up[i]));
      }
      EXPECT_EQ(plain[row * stride + width], -7.0f) << "nothing beyond the width is written";
    }
  }
}

TEST(SoftCap, IsCTanhOfXByC) {
  std::vector<float> x;
  for (float value = -400.0f; value <= 400.0f; value += 0.37f) x.push_back(value);
  x.insert(x.end(), {0.0f, 1e30f, -1e30f, -std::numeric_limits<float>::infinity()});
  for (const double c : {3.0, 50.0}) {
    std::vector<float> capped = x;
    soft_cap(capped.data(), static_cast<int64_t>(capped.size()), c);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(capped[i], c * std::tanh(x[i] / c), 4e-7 * c) << x[i];
  }
}

TEST(Products, HonourStridesAndAgreeWithFloat64) {
  const int64_t m = 33, k = 70, n = 21, a_stride = 80, out_stride = 30;
  const std::vector<float> a = random_values(m * a_stride), b = random_values(n * k);
  std::vector<float> out(m * out_stride, -7.0f), plain(m * n);
  multiply_transposed({a.data(), m, k, a_stride}, {b.data(), n, k, k}, {out.data(), m, n, out_stride});
  std::vector<float> transposed(k * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) transposed[j * n + i] = b[i * k + j];
  multiply({a.data(), m, k, a_stride}, {transposed.data(), k, n, n}, {plain.data(), m, n, n});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      double sum = 0.0;
      for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(a[row * a_stride + i]) * b[column * k + i];
      EXPECT_NEAR(out[row * out_stride + column], sum, 1e-4);
      EXPECT_NEAR(plain[row * n + column], sum, 1e-4);
    }
    EXPECT_EQ(out[row * out_stride + n], -7.0f) << "nothing beyond the columns is written";
  }
}

TEST(AddScaledRows, AddsEveryRow) {
  const int64_t rows = 7, length = 53, stride = 60;
  const std::vector<float> values = random_values(rows * stride), scales = random_values(rows);
  std::vector<float> sums = random_values(length), before = sums;
  add_scaled_rows(values.data(), stride, scales.data(), rows, length, sums.data());
  for (int64_t i = 0; i < length; ++i) {
    double expected = before[i];
    for (int64_t row = 0; row < rows; ++row) expected += static_cast<double>(values[row * stride + i]) * scales[row];
    EXPECT_NEAR(sums[i], expected, 1e-5);
  }
}

TEST(Threads, FollowTheRequest) {
  const int before = threads();
  set_threads(1);
  EXPECT_EQ(threads(), 1);
  set_threads(0);
  EXPECT_GE(threads(), 1);
  set_threads(before);
  EXPECT_FALSE(blas().torch.empty());
}

}  // namespace
}  // namespace spikescope
