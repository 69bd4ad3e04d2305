#include "model/attention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "../error_of.h"

namespace spikescope {
namespace {

struct Problem {
  AttentionShape shape;
  std::vector<int64_t> offsets;
  std::vector<float> q, k, v, z;

  Problem(const AttentionShape& kind, std::vector<int64_t> lengths, float spread = 1.0f) : shape(kind), offsets{0} {
    for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, spread);
    const auto fill = [&](std::vector<float>& values, int64_t size) {
      values.resize(static_cast<size_t>(offsets.back() * size));
      for (float& value : values) value = normal(random);
    };
    fill(q, shape.heads * shape.head_dim);
    fill(k, shape.kv_heads * shape.head_dim);
    fill(v, shape.kv_heads * shape.v_dim);
    z.assign(static_cast<size_t>(offsets.back() * shape.heads * shape.v_dim), std::nanf(""));
  }

  /// Tensors of prompts [first, last).
  AttentionTensors tensors(int64_t first, int64_t last) {
    const int64_t rows = offsets[last] - offsets[first];
    const auto view = [&](std::vector<float>& values, int64_t size) {
      return MatrixView{values.data() + offsets[first] * size, rows, size, size};
    };
    return {view(q, shape.heads * shape.head_dim), view(k, shape.kv_heads * shape.head_dim),
            view(v, shape.kv_heads * shape.v_dim), view(z, shape.heads * shape.v_dim)};
  }

  /// P[prompt][head][t][..], in double, by the definition.
  std::vector<double> pattern(int64_t prompt, int64_t head, int64_t t) const {
    const int64_t length = offsets[prompt + 1] - offsets[prompt];
    std::vector<double> scores(static_cast<size_t>(length), -1e300);
    double largest = -1e300, sum = 0.0;
    for (int64_t j = 0; j < length; ++j) {
      if ((shape.causal && j > t) || (shape.window > 0 && t - j >= shape.window)) continue;
      double score = 0.0;
      for (int64_t i = 0; i < shape.head_dim; ++i)
        score +=
            static_cast<double>(q[((offsets[prompt] + t) * shape.heads + head) * shape.head_dim + i]) *
            k[((offsets[prompt] + j) * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * shape.head_dim + i];
      score *= shape.scale;
      if (shape.softcap > 0.0) score = shape.softcap * std::tanh(score / shape.softcap);
      if (!shape.slopes.empty()) score += shape.slopes[static_cast<size_t>(head)] * static_cast<double>(j - t);
      scores[static_cast<size_t>(j)] = score;
      largest = std::max(largest, score);
    }
    for (double& score : scores) sum += score = score == -1e300 ? 0.0 : std::exp(score - largest);
    for (double& score : scores) score /= sum;
    return scores;
  }
};

AttentionShape shape_of(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .v_dim = head_dim,
          .scale = 1.0 / std::sqrt(static_cast<double>(head_dim))};
}

/// Every kind of attention there is.
std::vector<AttentionShape> shapes() {
  std::vector<AttentionShape> all = {shape_of(4, 4, 8), shape_of(9, 3, 16), shape_of(8, 1, 5)};
  AttentionShape latent = shape_of(4, 4, 24), sliding = shape_of(4, 2, 8), everywhere = shape_of(2, 1, 8);
  latent.v_dim = 12;
  all.push_back(latent);
  for (const int64_t window : {1, 7, 40, 100}) {
    sliding.window = window;
    all.push_back(sliding);
  }
  everywhere.causal = false;
  all.push_back(everywhere);
  AttentionShape capped = shape_of(4, 2, 8), slanted = shape_of(4, 2, 8), both = sliding;
  capped.softcap = 0.7;
  slanted.slopes = {0.25, 0.0625, 0.5, 0.001};
  both.softcap = 0.5;
  both.slopes = slanted.slopes;
  for (const AttentionShape& shape : {capped, slanted, both}) all.push_back(shape);
  return all;
}

class EveryAttention : public ::testing::TestWithParam<AttentionShape> {};

TEST_P(EveryAttention, AgreesWithTheDefinition) {
  const AttentionShape& shape = GetParam();
  Problem problem(shape, {1, 2, 17, 310});
  const std::vector<TokenPosition> kept = {{0, 0}, {1, 0}, {2, 0}, {2, 9}, {3, 0}, {3, 140}};
  SinkAccumulator sinks(shape, problem.offsets, kept);
  Attention attention;
  // Two groups, as the runner makes them.
  attention(shape, problem.tensors(0, 3), problem.offsets, 0, 3, &sinks);
  attention(shape, problem.tensors(3, 4), problem.offsets, 3, 4, &sinks);
  const SinkStatistics statistics = sinks.take();
  const int64_t n = problem.offsets.back(), group = shape.heads / shape.kv_heads;

  for (int64_t prompt = 0; prompt < 4; ++prompt) {
    const int64_t begin = problem.offsets[prompt], length = problem.offsets[prompt + 1] - begin;
    for (int64_t head = 0; head < shape.heads; ++head) {
      std::vector<double> sums(static_cast<size_t>(length)), late(sums);
      double entropy = 0.0;
      for (int64_t t = 0; t < length; ++t) {
        const std::vector<double> pattern = problem.pattern(prompt, head, t);
        for (int64_t i = 0; i < shape.v_dim; ++i) {
          double mixed = 0.0;
          for (int64_t key = 0; key < length; ++key)
            mixed += pattern[key] * problem.v[((begin + key) * shape.kv_heads + head / group) * shape.v_dim + i];
          EXPECT_NEAR(problem.z[((begin + t) * shape.heads + head) * shape.v_dim + i], mixed, 2e-5);
        }
        double row_entropy = 0.0;
        int64_t seen = 0;
        for (int64_t key = 0; key < length; ++key) {
          if (t >= 1) sums[key] += pattern[key];
          if (t >= SinkStatistics::kLateQuery) late[key] += pattern[key];
          if (pattern[key] > 0.0) row_entropy -= pattern[key] * std::log(pattern[key]);
          seen += key >= shape.first_key(t) && key < shape.last_key(t, length);
        }
        if (t >= 1 && seen >= 2) entropy += row_entropy / std::log(static_cast<double>(seen));
        for (size_t i = 0; i < kept.size(); ++i) {
          if (kept[i].first != prompt) continue;
          EXPECT_NEAR(statistics.columns[i][t * shape.heads + head], pattern[kept[i].second], 1e-5);
        }
      }
      for (int64_t key = 0; key < length; ++key) {
        EXPECT_NEAR(statistics.column_sums[head * n + begin + key], sums[key], 1e-4);
        EXPECT_NEAR(statistics.late_column_sums[head * n + begin + key], late[key], 1e-4);
      }
      EXPECT_NEAR(statistics.entropy[head * 4 + prompt], length > 1 ? entropy / (length - 1) : 0.0, 1e-5);
    }
  }
  const int64_t size = shape.kv_heads * shape.v_dim;
  for (size_t i = 0; i < kept.size(); ++i)
    for (int64_t j = 0; j < size; ++j)
      EXPECT_EQ(statistics.values[i * size + j],
                problem.v[(problem.offsets[kept[i].first] + kept[i].second) * size + j]);
}

TEST_P(EveryAttention, WholeSquaresGiveTheSame) {
  const AttentionShape& shape = GetParam();
  Problem blocks(shape, {40, 1, 90}), squares = blocks;
  const std::vector<TokenPosition> kept = {{0, 3}, {2, 0}};
  Attention attention;
  SinkAccumulator block_sinks(blocks.shape, blocks.offsets, kept), square_sinks(blocks.shape, blocks.offsets, kept);
  attention(shape, blocks.tensors(0, 3), blocks.offsets, 0, 3, &block_sinks);
  attention.with_squares(shape, squares.tensors(0, 3), squares.offsets, 0, 3, &square_sinks, {}, {});
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

INSTANTIATE_TEST_SUITE_P(Kinds, EveryAttention, ::testing::ValuesIn(shapes()), [](const auto& info) {
  const AttentionShape& s = info.param;
  return fmt::format("{}_heads_on_{}_of_{}_and_{}{}{}{}{}", s.heads, s.kv_heads, s.head_dim, s.v_dim,
                     s.causal ? "" : "_everywhere", s.window > 0 ? fmt::format("_window_{}", s.window) : "",
                     s.softcap > 0.0 ? "_capped" : "", s.slopes.empty() ? "" : "_slanted");
});

TEST(AttentionThreads, AnyNumberGivesTheSameBytes) {
  const int before = threads();
  std::vector<SinkStatistics> all;
  std::vector<std::vector<float>> outputs;
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    Problem problem(shape_of(3, 1, 8), {1400, 30});  // of several chunks, and of one
    SinkAccumulator sinks(problem.shape, problem.offsets, {{0, 0}});
    Attention attention;
    attention(problem.shape, problem.tensors(0, 2), problem.offsets, 0, 2, &sinks);
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
  Problem problem(shape_of(2, 1, 4), {33}, 60.0f);
  SinkAccumulator sinks(problem.shape, problem.offsets, {{0, 0}});
  Attention attention;
  attention(problem.shape, problem.tensors(0, 1), problem.offsets, 0, 1, &sinks);
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

/// What attention of a query gives with a bias, in double, by the definition: over the keys of the bias and those of
/// the prompt (and of its parent, which stands before it) that are not hidden.
std::vector<double> biased_output(const Problem& problem, const AttentionBias& bias, int64_t prompt, int64_t parent,
                                  int64_t head, int64_t row) {
  const AttentionShape& shape = problem.shape;
  const int64_t kv_head = head / (shape.heads / shape.kv_heads), hd = shape.head_dim, vd = shape.v_dim;
  std::vector<std::pair<const float*, const float*>> seen;
  for (int64_t i = 0; i < bias.rows; ++i)
    seen.emplace_back(&bias.keys[(i * shape.kv_heads + kv_head) * hd],
                      &bias.values[(i * shape.kv_heads + kv_head) * vd]);
  for (const int64_t of : {parent, prompt}) {
    if (of < 0) continue;
    const int64_t last = of == prompt && shape.causal ? row + 1 : problem.offsets[of + 1];
    for (int64_t token = problem.offsets[of]; token < last; ++token)
      if (!std::binary_search(bias.hidden.begin(), bias.hidden.end(), token))
        seen.emplace_back(&problem.k[(token * shape.kv_heads + kv_head) * hd],
                          &problem.v[(token * shape.kv_heads + kv_head) * vd]);
  }
  std::vector<double> scores, mixed(static_cast<size_t>(vd));
  double largest = -1e300, sum = 0.0;
  for (const auto& [key, value] : seen) {
    double score = 0.0;
    for (int64_t i = 0; i < hd; ++i)
      score += static_cast<double>(problem.q[(row * shape.heads + head) * hd + i]) * key[i];
    score *= shape.scale;
    if (shape.softcap > 0.0) score = shape.softcap * std::tanh(score / shape.softcap);
    scores.push_back(score);
    largest = std::max(largest, score);
  }
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (size_t key = 0; key < seen.size(); ++key)
    for (int64_t i = 0; i < vd; ++i) mixed[static_cast<size_t>(i)] += scores[key] / sum * seen[key].second[i];
  return mixed;
}

class BiasedAttention : public ::testing::TestWithParam<AttentionShape> {
 protected:
  BiasedAttention() : extra_(GetParam(), {2}) {}  // some other keys and values
  AttentionBias bias(int64_t rows, std::vector<int64_t> hidden) const {
    const AttentionShape& shape = GetParam();
    return {.rows = rows,
            .keys = std::span(extra_.k).first(static_cast<size_t>(rows * shape.kv_heads * shape.head_dim)),
            .values = std::span(extra_.v).first(static_cast<size_t>(rows * shape.kv_heads * shape.v_dim)),
            .hidden = std::move(hidden)};
  }
  void expect_as_defined(const Problem& problem, const AttentionBias& bias, const PromptLayout& prompts) const {
    const AttentionShape& shape = problem.shape;
    for (int64_t prompt = 0; prompt < prompts.prompts(); ++prompt)
      for (int64_t row = prompts.offsets[prompt]; row < prompts.offsets[prompt + 1]; ++row)
        for (int64_t head = 0; head < shape.heads; ++head) {
          const std::vector<double> expected = biased_output(problem, bias, prompt, prompts.parent(prompt), head, row);
          for (int64_t i = 0; i < shape.v_dim; ++i)
            ASSERT_NEAR(problem.z[(row * shape.heads + head) * shape.v_dim + i], expected[static_cast<size_t>(i)], 2e-5)
                << "prompt " << prompt << ", row " << row << ", head " << head;
        }
  }
  Problem extra_;
};

TEST_P(BiasedAttention, AgreesWithTheDefinition) {
  // The first token of the first prompt, the whole second prompt, and some of the last one are hidden.
  for (const int64_t rows : {0, 1, 2})
    for (const std::vector<int64_t>& hidden : {std::vector<int64_t>{}, {0, 3, 4, 5, 38, 311}}) {
      Problem problem(GetParam(), {3, 2, 600});
      const AttentionBias given = bias(rows, hidden);
      Attention attention;
      // In two groups: hidden tokens are among those of all prompts.
      attention(problem.shape, problem.tensors(0, 2), problem.offsets, 0, 2, nullptr, given);
      attention(problem.shape, problem.tensors(2, 3), problem.offsets, 2, 3, nullptr, given);
      expect_as_defined(problem, given, problem.offsets);
    }
}

TEST_P(BiasedAttention, OfPromptsWithAParent) {
  if (!GetParam().causal) return;  // has no parents
  Problem problem(GetParam(), {40, 7, 3});
  const std::vector<int64_t> parents = {-1, 0, 0};
  const PromptLayout prompts(problem.offsets, parents);
  const AttentionBias given = bias(1, {0, 12, 41, 47});
  Attention attention;
  attention(problem.shape, problem.tensors(0, 3), prompts, 0, 3, nullptr, given);
  expect_as_defined(problem, given, prompts);
}

TEST_P(BiasedAttention, AHiddenTokensOwnKeyInItsPlaceChangesNothing) {
  Problem problem(GetParam(), {90}), biased = problem;
  const AttentionShape& shape = problem.shape;
  Attention attention;
  attention(shape, problem.tensors(0, 1), problem.offsets, 0, 1, nullptr);
  const AttentionBias own = {.rows = 1,
                             .keys = std::span(problem.k).first(static_cast<size_t>(shape.kv_heads * shape.head_dim)),
                             .values = std::span(problem.v).first(static_cast<size_t>(shape.kv_heads * shape.v_dim)),
                             .hidden = {0}};
  attention(shape, biased.tensors(0, 1), biased.offsets, 0, 1, nullptr, own);
  for (size_t i = 0; i < problem.z.size(); ++i) EXPECT_NEAR(problem.z[i], biased.z[i], 2e-6);
}

std::vector<AttentionShape> shapes_without_distance() {
  std::vector<AttentionShape> some;
  for (const AttentionShape& shape : shapes())
    if (why_no_attention_bias(shape).empty()) some.push_back(shape);
  return some;
}

INSTANTIATE_TEST_SUITE_P(Kinds, BiasedAttention, ::testing::ValuesIn(shapes_without_distance()), [](const auto& info) {
  const AttentionShape& s = info.param;
  return fmt::format("{}_heads_on_{}_of_{}_and_{}{}{}", s.heads, s.kv_heads, s.head_dim, s.v_dim,
                     s.causal ? "" : "_everywhere", s.softcap > 0.0 ? "_capped" : "");
});

TEST(AttentionBias, AQueryWithNothingToSeeGetsZero) {
  Problem problem(shape_of(2, 1, 4), {3});
  Attention attention;
  attention(problem.shape, problem.tensors(0, 1), problem.offsets, 0, 1, nullptr, {.hidden = {0, 1}});
  for (size_t i = 0; i < 2 * 8; ++i) EXPECT_EQ(problem.z[i], 0.0f);
  for (size_t i = 2 * 8; i < 3 * 8; ++i)
    EXPECT_NEAR(problem.z[i], problem.v[2 * 4 + i % 4], 1e-6) << "sees itself alone";
}

TEST(AttentionBias, IsRefusedWhereDistancesCountOrSizesDiffer) {
  AttentionShape sliding = shape_of(4, 2, 8), slanted = sliding;
  sliding.window = 7;
  slanted.slopes = {0.25, 0.0625, 0.5, 0.001};
  const std::vector<float> values(16);
  const AttentionBias bias = {.rows = 1, .keys = values, .values = values};
  EXPECT_THAT(testing::error_of([&] { check_attention_bias(sliding, bias); }), ::testing::HasSubstr("sliding window"));
  EXPECT_THAT(testing::error_of([&] { check_attention_bias(slanted, bias); }), ::testing::HasSubstr("ALiBi"));
  EXPECT_THAT(testing::error_of([&] { check_attention_bias(shape_of(4, 4, 8), bias); }),
              ::testing::HasSubstr("expected 32 and 32"));
  EXPECT_EQ(testing::error_of([&] { check_attention_bias(shape_of(4, 2, 8), bias); }), "");
  EXPECT_EQ(testing::error_of([&] { check_attention_bias(sliding, {.hidden = {0}}); }), "");
}

TEST(AttentionHooks, ChangeScoresAndPattern) {
  Problem problem(shape_of(2, 1, 4), {5});
  Attention attention;
  int calls = 0;
  attention.with_squares(
      problem.shape, problem.tensors(0, 1), problem.offsets, 0, 1, nullptr,
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
