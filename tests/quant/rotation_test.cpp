// Rotations are orthogonal, spread what is large, and depend on their seed alone.

#include "quant/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "error_of.h"

namespace spikescope {
namespace {

class Rotations : public ::testing::TestWithParam<std::tuple<RotationKind, int64_t>> {
 protected:
  static std::vector<float> gaussian(int64_t count) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  }
  static TensorView view(std::vector<float>& values, int64_t size) {
    return {values.data(), {static_cast<int64_t>(values.size()) / size, size}, size};
  }
};

TEST_P(Rotations, KeepLengthsAndAnglesAndAreUndone) {
  const auto [kind, size] = GetParam();
  const Rotation rotation(kind, size, 7);
  std::vector<float> x = gaussian(40 * size), y = x;
  rotation.apply(view(y, size));
  EXPECT_NE(x, y);
  const auto dot = [&, n = size](const std::vector<float>& rows, int64_t a, int64_t b) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i)
      sum += static_cast<double>(rows[static_cast<size_t>(a * n + i)]) * rows[static_cast<size_t>(b * n + i)];
    return sum;
  };
  for (const int64_t other : {0, 1, 39}) EXPECT_NEAR(dot(y, 0, other), dot(x, 0, other), 2e-5 * dot(x, 0, 0));
  rotation.undo(view(y, size));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 2e-5) << i;
}

TEST_P(Rotations, SpreadOneLargeValueOverAll) {
  const auto [kind, size] = GetParam();
  std::vector<float> x(static_cast<size_t>(size), 0.0f);
  x[static_cast<size_t>(size / 2)] = 1000.0f;
  Rotation(kind, size, 7).apply(view(x, size));
  float largest = 0.0f;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  EXPECT_LT(largest, 1000.0f * 5.0f / std::sqrt(static_cast<float>(size)));
}

TEST_P(Rotations, AreThoseOfTheirSeed) {
  const auto [kind, size] = GetParam();
  std::vector<float> x = gaussian(size), same = x, other = x;
  Rotation(kind, size, 7).apply(view(x, size));
  Rotation(kind, size, 7).apply(view(same, size));
  Rotation(kind, size, 8).apply(view(other, size));
  EXPECT_EQ(x, same);
  EXPECT_NE(x, other);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Rotations,
                         ::testing::Combine(::testing::Values(RotationKind::hadamard, RotationKind::random),
                                            ::testing::Values(int64_t{64}, int64_t{576}, int64_t{96})),
                         [](const auto& info) {
                           return std::string(rotation_names()[static_cast<size_t>(std::get<0>(info.param))].name) +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(RotationOfNothing, LeavesRowsAlone) {
  std::vector<float> x = {1.0f, 2.0f, 3.0f}, before = x;
  const Rotation rotation(RotationKind::none, 3, 1);
  rotation.apply({x.data(), {1, 3}, 3});
  rotation.undo({x.data(), {1, 3}, 3});
  EXPECT_EQ(x, before);
}

TEST(RotationOfNothing, RefusesWhatTakesTooLong) {
  EXPECT_EQ(testing::error_of([] { Rotation(RotationKind::random, 20000, 1); }),
            "a random rotation of 20000 values takes too long; choose hadamard");
}

}  // namespace
}  // namespace spikescope
