#include "quant/weight_quantizer.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>

#include "../error_of.h"
#include "quant/gptq.h"

namespace spikescope {
namespace {

using Scope = WeightFormat::Scope;
using testing::error_of;
using ::testing::HasSubstr;

ConstMatrixView view(const std::vector<float>& values, int64_t rows) {
  const int64_t columns = static_cast<int64_t>(values.size()) / rows;
  return {values.data(), rows, columns, columns};
}

std::vector<float> dequantized(const QuantizedMatrix& m, const WeightFormat& format) {
  std::vector<float> values;
  for (int64_t row = 0; row < m.rows; ++row)
    for (int64_t column = 0; column < m.columns; ++column)
      values.push_back(
          dequantize_value(m.values[static_cast<size_t>(row * m.columns + column)], m.scale(format, row, column)));
  return values;
}

std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(RoundToNearest, ByHand) {
  // Two bits, symmetric: largest magnitude 3 on 1.5 steps: scale 2, range [-2, 1].
  const Rounding two = {.format = {.bits = 2, .scope = Scope::channel}};
  const std::vector<float> weights = {3.0f, -3.0f, 0.9f, 1.1f, 5.9f, -6.0f, 1.0f, -3.0f};
  const QuantizedMatrix m = round_to_nearest(view(weights, 2), two);
  ASSERT_EQ(m.scales.size(), 2u);
  EXPECT_EQ(m.scales[0].scale, 2.0f);
  EXPECT_EQ(m.scales[1].scale, 4.0f);
  EXPECT_EQ(m.values, (std::vector<int8_t>{1, -2, 0, 1, 1, -2, 0, -1}));  // -1.5 and -0.75 steps; ties to even
  EXPECT_EQ(dequantized(m, two.format), (std::vector<float>{2, -4, 0, 2, 4, -8, 0, -4}));

  // Asymmetric: [-1, 2] on three steps: scale 1, -1 is q = -2, so 0 is q = -1.
  const Rounding with_zero = {.format = {.bits = 2, .scope = Scope::group, .group = 2, .symmetric = false}};
  const QuantizedMatrix a = round_to_nearest(view({-1.0f, 2.0f, 3.0f, 6.0f}, 1), with_zero);
  EXPECT_EQ(a.scales[0].scale, 1.0f);
  EXPECT_EQ(a.scales[0].zero, -1);
  EXPECT_EQ(a.scales[1].scale, 2.0f);  // 0 is in the range: [0, 6]
  EXPECT_EQ(a.scales[1].zero, -2);
  EXPECT_EQ(dequantized(a, with_zero.format), (std::vector<float>{-1, 2, 4, 6}));  // 1.5 steps to 2

  const Rounding tensor = {.format = {.bits = 8, .scope = Scope::tensor}};
  const QuantizedMatrix t = round_to_nearest(view({127.5f, 1.0f, -2.4f, 0.0f}, 2), tensor);
  ASSERT_EQ(t.scales.size(), 1u);
  EXPECT_EQ(t.values, (std::vector<int8_t>{127, 1, -2, 0}));
}

TEST(RoundToNearest, ErrorsAreHalfAStepAtMost) {
  const std::vector<float> weights = random_values(6 * 32, 1);
  for (const bool symmetric : {true, false})
    for (int bits = 2; bits <= 8; ++bits)
      for (const char* type : {"F32", "F16", "BF16"}) {
        const Rounding rounding = {.format = {.bits = bits, .scope = Scope::group, .group = 16, .symmetric = symmetric},
                                   .scale_type = type};
        const QuantizedMatrix m = round_to_nearest(view(weights, 6), rounding);
        const std::vector<float> values = dequantized(m, rounding.format);
        // A rounded scale moves the ends of the range, too.
        const float type_error = std::string(type) == "F32" ? 1e-5f : std::string(type) == "F16" ? 0.0005f : 0.004f;
        for (size_t i = 0; i < weights.size(); ++i) {
          const Scale& scale = m.scale(rounding.format, static_cast<int64_t>(i / 32), static_cast<int64_t>(i % 32));
          const float ends = type_error * std::ldexp(1.0f, bits);
          EXPECT_LE(std::abs(values[i] - weights[i]), scale.scale * (symmetric ? 0.5f + ends : 1.0f + ends) * 1.0001f)
              << bits << type << i;
        }
      }
}

TEST(RoundToNearest, ZerosStayZeros) {
  for (const bool symmetric : {true, false}) {
    const Rounding rounding = {.format = {.bits = 4, .scope = Scope::channel, .symmetric = symmetric}};
    const QuantizedMatrix m = round_to_nearest(view({0.0f, 0.0f, 0.0f, 2.0f}, 2), rounding);
    EXPECT_EQ(dequantized(m, rounding.format)[0], 0.0f);
    EXPECT_EQ(dequantized(m, rounding.format)[2], 0.0f);
  }
}

TEST(RoundToNearest, ClippingByErrorIsNoWorse) {
  std::vector<float> weights = random_values(4 * 64, 2);
  weights[5] = 30.0f;  // an outlier that costs the others their steps
  const auto error = [&](WeightClip clip, bool symmetric) {
    const Rounding rounding = {.format = {.bits = 4, .scope = Scope::channel, .symmetric = symmetric}, .clip = clip};
    const std::vector<float> values = dequantized(round_to_nearest(view(weights, 4), rounding), rounding.format);
    double sum = 0.0;
    for (size_t i = 0; i < values.size(); ++i) sum += std::pow(static_cast<double>(values[i] - weights[i]), 2);
    return sum;
  };
  for (const bool symmetric : {true, false})
    EXPECT_LT(error(WeightClip::mse, symmetric), error(WeightClip::absmax, symmetric));
}

TEST(RoundToNearest, Refuses) {
  const Rounding rounding = {.format = {.bits = 4, .scope = Scope::group, .group = 3}};
  EXPECT_THAT(error_of([&] { round_to_nearest(view(random_values(8, 1), 1), rounding); }),
              HasSubstr("groups of 3 do not divide its 8 columns"));
  const std::vector<float> broken = {1.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THAT(error_of([&] { choose_scale(broken, rounding); }), HasSubstr("not a number"));
}

TEST(StoredParts, AreReadAsTheSameMatrix) {
  const std::vector<float> weights = random_values(5 * 48, 3);
  for (const bool packed : {true, false})
    for (const bool symmetric : {true, false})
      for (const Scope scope : {Scope::tensor, Scope::channel, Scope::group})
        for (const int bits : {2, 3, 4, 5, 8}) {
          if (!packed && scope == Scope::group) continue;
          const Rounding rounding = {
              .format = {.bits = bits, .scope = scope, .group = 16, .symmetric = symmetric, .packed = packed}};
          const QuantizedMatrix m = round_to_nearest(view(weights, 5), rounding);
          const std::vector<StoredPart> parts = stored_parts(m, rounding), planned = stored_parts(5, 48, rounding);
          ASSERT_EQ(parts.size(), planned.size());
          QuantizedParts joined{.values = {}, .scales = {}, .zero_points = {}, .shape = {5, 48}};
          for (size_t i = 0; i < parts.size(); ++i) {
            EXPECT_EQ(parts[i].shape, planned[i].shape);
            const TensorInfo info = {parts[i].suffix, parts[i].shape, find_safetensors_format(parts[i].dtype),
                                     parts[i].bytes, "memory"};
            if (i == 0) joined.values = info;
            if (i == 1) joined.scales = info;
            if (parts[i].suffix == "weight_zero_point") joined.zero_points = info;
          }
          EXPECT_EQ(read_tensor(quantized_tensor("w", joined, rounding.format)), dequantized(m, rounding.format));
        }
}

/// Correlated inputs: rows of x.
std::vector<float> correlated(int64_t rows, int64_t size) {
  const std::vector<float> sources = random_values(rows * 4, 7), noise = random_values(rows * size, 8),
                           mix = random_values(4 * size, 9);
  std::vector<float> x(static_cast<size_t>(rows * size));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < size; ++i) {
      float value = 0.3f * noise[static_cast<size_t>(r * size + i)];
      for (int64_t k = 0; k < 4; ++k)
        value += sources[static_cast<size_t>(r * 4 + k)] * mix[static_cast<size_t>(k * size + i)];
      x[static_cast<size_t>(r * size + i)] = value;
    }
  return x;
}

TEST(InputMoments, SumOfOuterProducts) {
  const int64_t rows = 300, size = 40;
  const std::vector<float> x = correlated(rows, size);
  InputMoments moments(size);
  moments.add({x.data(), 120, size, size});
  moments.add({x.data() + 120 * size, 180, size, size});
  EXPECT_EQ(moments.rows(), rows);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j) {
      double sum = 0.0;
      for (int64_t r = 0; r < rows; ++r)
        sum += static_cast<double>(x[static_cast<size_t>(r * size + i)]) * x[static_cast<size_t>(r * size + j)];
      EXPECT_NEAR(moments.at(i, j), sum, 1e-3) << i << ", " << j;
    }
}

/// H^-1 by Gauss and Jordan, of the rows and columns in `left`.
std::vector<std::vector<double>> inverse_of(const std::vector<std::vector<double>>& h) {
  const size_t n = h.size();
  std::vector<std::vector<double>> a = h, inverse(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) inverse[i][i] = 1.0;
  for (size_t i = 0; i < n; ++i) {
    const double pivot = a[i][i];
    for (size_t j = 0; j < n; ++j) a[i][j] /= pivot, inverse[i][j] /= pivot;
    for (size_t k = 0; k < n; ++k) {
      const double factor = a[k][i];
      if (k == i) continue;
      for (size_t j = 0; j < n; ++j) a[k][j] -= factor * a[i][j], inverse[k][j] -= factor * inverse[i][j];
    }
  }
  return inverse;
}

/// Equation 2 of the paper as it stands, with the inverse of what is left of H made anew for each column.
QuantizedMatrix slow_gptq(const std::vector<float>& weights, int64_t rows, const InputMoments& moments,
                          const Rounding& rounding, double damping, const std::vector<int64_t>& order,
                          bool as_it_goes) {
  const int64_t n = moments.size();
  std::vector<double> w(weights.begin(), weights.end());
  QuantizedMatrix m{rows, n, std::vector<int8_t>(weights.size()), choose_scales(view(weights, rows), rounding)};
  double mean = 0.0;
  for (int64_t i = 0; i < n; ++i) mean += 2.0 * moments.at(i, i) / static_cast<double>(n);
  const int64_t a_row = rounding.format.scales_a_row(n), width = n / a_row;
  for (int64_t step = 0; step < n; ++step) {
    std::vector<std::vector<double>> h;
    for (int64_t i = step; i < n; ++i) {
      h.emplace_back();
      for (int64_t j = step; j < n; ++j)
        h.back().push_back(2.0 * moments.at(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]) +
                           (i == j ? damping * mean : 0.0));
    }
    const auto inverse = inverse_of(h);
    const int64_t column = order[static_cast<size_t>(step)];
    for (int64_t row = 0; row < rows; ++row) {
      if (as_it_goes && step % width == 0) {
        std::vector<float> group;
        for (int64_t j = 0; j < width; ++j)
          group.push_back(static_cast<float>(w[static_cast<size_t>(row * n + step + j)]));
        m.scales[static_cast<size_t>(row * a_row + step / width)] = choose_scale(group, rounding);
      }
      double& value = w[static_cast<size_t>(row * n + column)];
      const Scale& scale = m.scale(rounding.format, row, column);
      const int q = quantize_value(static_cast<float>(value), scale, rounding.format.bits);
      m.values[static_cast<size_t>(row * n + column)] = static_cast<int8_t>(q);
      const double error = (value - static_cast<double>(dequantize_value(q, scale))) / inverse[0][0];
      for (int64_t j = step + 1; j < n; ++j)
        w[static_cast<size_t>(row * n + order[static_cast<size_t>(j)])] -=
            error * inverse[0][static_cast<size_t>(j - step)];
    }
  }
  return m;
}

TEST(Gptq, IsTheSlowWay) {
  const int64_t rows = 20, size = 24;
  const std::vector<float> x = correlated(200, size), weights = random_values(rows * size, 10);
  InputMoments moments(size);
  moments.add(view(x, 200));
  std::vector<int64_t> in_order(static_cast<size_t>(size)), by_size;
  for (int64_t i = 0; i < size; ++i) in_order[static_cast<size_t>(i)] = i;
  by_size = in_order;
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](int64_t a, int64_t b) { return moments.at(a, a) > moments.at(b, b); });
  for (const bool act_order : {false, true})
    for (const Scope scope : {Scope::tensor, Scope::channel, Scope::group}) {
      const Rounding rounding = {.format = {.bits = 3, .scope = scope, .group = 8, .symmetric = scope != Scope::group}};
      const QuantizedMatrix fast =
          gptq(view(weights, rows), moments, rounding, {.damping = 0.05, .act_order = act_order});
      const QuantizedMatrix slow = slow_gptq(weights, rows, moments, rounding, 0.05, act_order ? by_size : in_order,
                                             scope == Scope::group && !act_order);
      // A value may lie between two steps for one and not for the other.
      int differ = 0;
      for (size_t i = 0; i < fast.values.size(); ++i) differ += fast.values[i] != slow.values[i];
      EXPECT_LE(differ, 2) << act_order << ", " << static_cast<int>(scope);
    }
}

TEST(Gptq, OutputsAreNearerThanRoundedOnes) {
  const int64_t rows = 48, size = 64;
  const std::vector<float> x = correlated(500, size), weights = random_values(rows * size, 11);
  InputMoments moments(size);
  moments.add(view(x, 500));
  for (const int bits : {2, 3, 4}) {
    const Rounding rounding = {.format = {.bits = bits, .scope = Scope::group, .group = 16}};
    const QuantizedMatrix rounded = round_to_nearest(view(weights, rows), rounding);
    const double before = output_error(view(weights, rows), rounded, rounding.format, moments);
    for (const bool act_order : {false, true}) {
      const QuantizedMatrix m = gptq(view(weights, rows), moments, rounding, {.act_order = act_order});
      EXPECT_LT(output_error(view(weights, rows), m, rounding.format, moments), 0.6 * before) << bits;
    }
    // The error itself, by its definition.
    const std::vector<float> values = dequantized(rounded, rounding.format);
    double error = 0.0, all = 0.0;
    for (int64_t t = 0; t < 500; ++t)
      for (int64_t row = 0; row < rows; ++row) {
        double difference = 0.0, output = 0.0;
        for (int64_t i = 0; i < size; ++i) {
          const double input = x[static_cast<size_t>(t * size + i)], w = weights[static_cast<size_t>(row * size + i)];
          difference += input * (w - values[static_cast<size_t>(row * size + i)]);
          output += input * w;
        }
        error += difference * difference;
        all += output * output;
      }
    EXPECT_NEAR(before, error / all, 1e-4 * before);
  }
}

TEST(Gptq, InputsThatAreAlwaysZero) {
  const int64_t size = 16;
  std::vector<float> x = correlated(100, size);
  for (int64_t row = 0; row < 100; ++row) x[static_cast<size_t>(row * size + 3)] = 0.0f;
  InputMoments moments(size);
  moments.add(view(x, 100));
  const std::vector<float> weights = random_values(4 * size, 12);
  const Rounding rounding = {.format = {.bits = 4, .scope = Scope::channel}};
  const QuantizedMatrix m = gptq(view(weights, 4), moments, rounding);
  for (size_t row = 0; row < 4; ++row) EXPECT_EQ(m.values[row * size + 3], 0);
  InputMoments none(size);
  EXPECT_EQ(gptq(view(weights, 4), none, rounding).values, std::vector<int8_t>(4 * size));
}

}  // namespace
}  // namespace spikescope
