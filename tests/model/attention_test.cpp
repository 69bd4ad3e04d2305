#include "model/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace spikescope {
namespace {

struct Problem {
  AttentionShape shape;
  std::vector<int64_t> offsets;
  std::vector<float> q, k, v, z;

  Problem(int64_t heads, int64_t kv_heads, int64_t head_dim, std::vector<int64_t> lengths, float spread = 1.0f)
      : shape{heads, kv_heads, head_dim, 1.0 / std::sqrt(static_cast<double>(head_dim))}, offsets{0} {
    for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, spread);
    for (auto* values : {&q, &k, &v}) {
      values->resize(static_cast<size_t>(offsets.back() * (values == &q ? heads : kv_heads) * head_dim));
      for (float& value : *values) value = normal(random);
    }
    z.assign(q.size(), std::nanf(""));
  }

  /// Tensors of prompts [first, last).
  AttentionTensors tensors(int64_t first, int64_t last) {
    const int64_t rows = offsets[last] - offsets[first], qs = shape.heads * shape.head_dim,
                  ks = shape.kv_heads * shape.head_dim;
    return {{q.data() + offsets[first] * qs, rows, qs, qs},
            {k.data() + offsets[first] * ks, rows, ks, ks},
            {v.data() + offsets[first] * ks, rows, ks, ks},
            {z.data() + offsets[first] * qs, rows, qs, qs}};
  }

  /// P[prompt][head][t][key], in double.
  double probability(int64_t prompt, int64_t head, int64_t t, int64_t key) const {
    const auto score = [&](int64_t j) {
      double dot = 0.0;
      for (int64_t i = 0; i < shape.head_dim; ++i)
        dot += static_cast<double>(q[((offsets[prompt] + t) * shape.heads + head) * shape.head_dim + i]) *
               k[((offsets[prompt] + j) * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * shape.head_dim + i];
      return dot * shape.scale;
    };
    double largest = -1e300, sum = 0.0;
    for (int64_t j = 0; j <= t; ++j) largest = std::max(largest, score(j));
    for (int64_t j = 0; j <= t; ++j) sum += std::exp(score(j) - largest);
    return std::exp(score(key) - largest) / sum;
  }
};

struct Shapes {
  int64_t heads, kv_heads, head_dim;
};

class Attention : public ::testing::TestWithParam<Shapes> {};

TEST_P(Attention, AgreesWithTheDefinition) {
  const auto [heads, kv_heads, head_dim] = GetParam();
  Problem problem(heads, kv_heads, head_dim, {1, 2, 17, 150});
  const std::vector<TokenPosition> kept = {{0, 0}, {1, 0}, {2, 0}, {2, 9}, {3, 0}, {3, 140}};
  SinkAccumulator sinks(problem.shape, problem.offsets, kept);
  CausalAttention attention(problem.shape);
  // Two groups, as the runner makes them.
  attention(problem.tensors(0, 3), problem.offsets, 0, 3, &sinks);
  attention(problem.tensors(3, 4), problem.offsets, 3, 4, &sinks);
  const SinkStatistics statistics = sinks.take();
  const int64_t n = problem.offsets.back();

  for (int64_t prompt = 0; prompt < 4; ++prompt) {
    const int64_t length = problem.offsets[prompt + 1] - problem.offsets[prompt];
    for (int64_t head = 0; head < heads; ++head) {
      std::vector<double> total(length), late(length);
      double entropy = 0.0;
      for (int64_t t = 0; t < length; ++t) {
        std::vector<double> z(head_dim);
        double row_entropy = 0.0;
        for (int64_t key = 0; key <= t; ++key) {
          const double p = problem.probability(prompt, head, t, key);
          if (t >= 1) total[key] += p;
          if (t >= 16) late[key] += p;
          row_entropy -= p * std::log(p);
          for (int64_t i = 0; i < head_dim; ++i)
            z[i] +=
                p * problem.v[((problem.offsets[prompt] + key) * kv_heads + head / (heads / kv_heads)) * head_dim + i];
          const auto found = std::find(kept.begin(), kept.end(), TokenPosition(prompt, key));
          if (found != kept.end()) {
            EXPECT_NEAR(statistics.columns[found - kept.begin()][t * heads + head], p, 1e-5);
          }
        }
        if (t >= 1) entropy += row_entropy / std::log(t + 1.0);
        for (int64_t i = 0; i < head_dim; ++i)
          EXPECT_NEAR(problem.z[((problem.offsets[prompt] + t) * heads + head) * head_dim + i], z[i], 1e-5);
      }
      for (int64_t key = 0; key < length; ++key) {
        EXPECT_NEAR(statistics.column_sums[head * n + problem.offsets[prompt] + key], total[key], 1e-4);
        EXPECT_NEAR(statistics.late_column_sums[head * n + problem.offsets[prompt] + key], late[key], 1e-4);
      }
      EXPECT_NEAR(statistics.entropy[head * 4 + prompt], length > 1 ? entropy / (length - 1) : 0.0, 1e-5);
    }
  }
  for (size_t i = 0; i < kept.size(); ++i)
    for (int64_t j = 0; j < kv_heads * head_dim; ++j)
      EXPECT_EQ(statistics.values[i * kv_heads * head_dim + j],
                problem.v[(problem.offsets[kept[i].first] + kept[i].second) * kv_heads * head_dim + j]);
}

TEST_P(Attention, WholeSquaresGiveTheSame) {
  const auto [heads, kv_heads, head_dim] = GetParam();
  Problem blocks(heads, kv_heads, head_dim, {40, 1, 90}), squares = blocks;
  const std::vector<TokenPosition> kept = {{0, 3}, {2, 0}};
  CausalAttention attention(blocks.shape);
  SinkAccumulator block_sinks(blocks.shape, blocks.offsets, kept), square_sinks(blocks.shape, blocks.offsets, kept);
  attention(blocks.tensors(0, 3), blocks.offsets, 0, 3, &block_sinks);
  attention.with_squares(squares.tensors(0, 3), squares.offsets, 0, 3, &square_sinks, {}, {});
  for (size_t i = 0; i < blocks.z.size(); ++i) EXPECT_NEAR(blocks.z[i], squares.z[i], 2e-6);
  const SinkStatistics a = block_sinks.take(), b = square_sinks.take();
  for (size_t i = 0; i < a.column_sums.size(); ++i) EXPECT_NEAR(a.column_sums[i], b.column_sums[i], 2e-5);
  for (size_t i = 0; i < a.late_column_sums.size(); ++i)
    EXPECT_NEAR(a.late_column_sums[i], b.late_column_sums[i], 2e-5);
  for (size_t i = 0; i < a.entropy.size(); ++i) EXPECT_NEAR(a.entropy[i], b.entropy[i], 2e-6);
  for (size_t k = 0; k < kept.size(); ++k)
    for (size_t i = 0; i < a.columns[k].size(); ++i) EXPECT_NEAR(a.columns[k][i], b.columns[k][i], 2e-6);
  EXPECT_EQ(a.values, b.values);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention, ::testing::Values(Shapes{4, 4, 8}, Shapes{9, 3, 16}, Shapes{8, 1, 5}));

TEST(AttentionThreads, AnyNumberGivesTheSameBytes) {
  const int before = threads();
  std::vector<SinkStatistics> all;
  std::vector<std::vector<float>> outputs;
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    Problem problem(3, 1, 8, {1400, 30});  // of several chunks, and of one
    SinkAccumulator sinks(problem.shape, problem.offsets, {{0, 0}});
    CausalAttention attention(problem.shape);
    attention(problem.tensors(0, 2), problem.offsets, 0, 2, &sinks);
    all.push_back(sinks.take());
    outputs.push_back(problem.z);
  }
  set_threads(before);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[0].column_sums, all[i].column_sums);
    EXPECT_EQ(all[0].late_column_sums, all[i].late_column_sums);
    EXPECT_EQ(all[0].entropy, all[i].entropy);
    EXPECT_EQ(outputs[0], outputs[i]);
  }
}

TEST(AttentionExtremes, ScoresOfThousandsStayFinite) {
  // A spike's key against a query turned to it: scores far beyond what exp can hold.
  Problem problem(2, 1, 4, {33}, 60.0f);
  SinkAccumulator sinks(problem.shape, problem.offsets, {{0, 0}});
  CausalAttention attention(problem.shape);
  attention(problem.tensors(0, 1), problem.offsets, 0, 1, &sinks);
  for (const float value : problem.z) EXPECT_TRUE(std::isfinite(value));
  const SinkStatistics statistics = sinks.take();
  for (const float value : statistics.entropy) {
    EXPECT_GE(value, -1e-6f);
    EXPECT_LE(value, 1.0f + 1e-6f);
  }
  double sum = 0.0;
  for (int64_t key = 0; key < 33; ++key) sum += statistics.column_sums[static_cast<size_t>(key)];
  EXPECT_NEAR(sum, 32.0, 1e-4) << "each of the 32 queries gives away 1";
}

TEST(AttentionHooks, ChangeScoresAndPattern) {
  Problem problem(2, 1, 4, {5});
  CausalAttention attention(problem.shape);
  int calls = 0;
  attention.with_squares(
      problem.tensors(0, 1), problem.offsets, 0, 1, nullptr,
      [&](int64_t prompt, float* scores, int64_t length) {
        ++calls;
        EXPECT_EQ(prompt, 0);
        EXPECT_EQ(length, 5);
        EXPECT_TRUE(std::isinf(scores[1])) << "key 1 is invisible to query 0";
        for (int64_t i = 0; i < 2 * length * length; ++i) scores[i] = 0.0f;
      },
      [&](int64_t, float* pattern, int64_t length) {
        ++calls;
        for (int64_t t = 0; t < length; ++t)
          for (int64_t key = 0; key < length; ++key)
            EXPECT_NEAR(pattern[t * length + key], key <= t ? 1.0 / (t + 1.0) : 0.0, 1e-6);
        std::fill(pattern, pattern + 2 * length * length, 0.0f);
      });
  EXPECT_EQ(calls, 2);
  for (const float value : problem.z) EXPECT_EQ(value, 0.0f);
}

}  // namespace
}  // namespace spikescope
