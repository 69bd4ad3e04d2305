#include "stats/spectrum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace spikescope {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Spectrum, OfADiagonalMatrix) {
  // diag(3, 4) in dimensions 0 and 2 of three.
  const Spectrum spectrum(std::vector<float>{3, 0, 0, 0, 0, 4}, 2, 3);
  EXPECT_THAT(spectrum.singular_values(), ElementsAre(DoubleNear(4, 1e-12), DoubleNear(3, 1e-12)));
  EXPECT_EQ(spectrum.leading(0.64), 1);  // 16 of 25
  EXPECT_EQ(spectrum.leading(0.65), 2);
  EXPECT_THAT(spectrum.energy(std::vector<float>{0, 0, 5}), ElementsAre(DoubleNear(1, 1e-12), DoubleNear(1, 1e-12)));
  EXPECT_THAT(spectrum.energy(std::vector<float>{0, 5, 0}), ElementsAre(DoubleNear(0, 1e-12), DoubleNear(0, 1e-12)));
  EXPECT_THAT(spectrum.energy(std::vector<float>{2, 1, 2, 0, 0, 0}),
              ElementsAre(DoubleNear(4.0 / 9, 1e-12), DoubleNear(8.0 / 9, 1e-12)))
      << "vectors of zeros are left out";
}

TEST(Spectrum, SquaresAddUpAndWideAndTallAgree) {
  const std::vector<float> wide = random_values(8 * 20, 1);
  std::vector<float> tall(wide.size());
  double squares = 0.0;
  for (size_t r = 0; r < 8; ++r)
    for (size_t c = 0; c < 20; ++c) {
      tall[c * 8 + r] = wide[r * 20 + c];
      squares += std::pow(wide[r * 20 + c], 2);
    }
  const Spectrum a(wide, 8, 20), b(tall, 20, 8);
  ASSERT_EQ(a.rank(), 8);
  ASSERT_EQ(b.rank(), 8);
  double sum = 0.0;
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(a.singular_values()[i], b.singular_values()[i], 1e-12);
    sum += std::pow(a.singular_values()[i], 2);
  }
  EXPECT_NEAR(sum, squares, 1e-9);
  EXPECT_TRUE(std::is_sorted(a.singular_values().rbegin(), a.singular_values().rend()));
}

TEST(Spectrum, CurvesEndAtTheRowSpace) {
  const std::vector<float> matrix = random_values(6 * 15, 2), vectors = random_values(300 * 15, 3);
  const Spectrum spectrum(matrix, 6, 15);
  const std::vector<double> curve = spectrum.energy(vectors);
  EXPECT_TRUE(std::is_sorted(curve.begin(), curve.end()));
  EXPECT_NEAR(curve.back(), 6.0 / 15, 0.03) << "random vectors: rank / d";
  // A row of the matrix lies in its row space, and all vectors in that of a square one.
  EXPECT_NEAR(spectrum.energy(std::span(matrix).first(15)).back(), 1.0, 1e-12);
  EXPECT_NEAR(Spectrum(random_values(15 * 15, 4), 15, 15).energy(vectors).back(), 1.0, 1e-12);
}

TEST(Spectrum, KeepsSmallSingularValues) {
  // 1 and 1e-9: a Gram matrix in float64 would have 1 and 1e-18 and lose the second.
  const Spectrum spectrum(std::vector<float>{1, 0, 0, 1e-9f}, 2, 2);
  EXPECT_NEAR(spectrum.singular_values()[1], 1e-9, 1e-16);
}

TEST(Spectrum, OfNothing) {
  const Spectrum zeros(std::vector<float>(6, 0.0f), 2, 3);
  EXPECT_EQ(zeros.leading(0.9), 0);
  EXPECT_TRUE(std::isnan(zeros.energy({})[0]));
  EXPECT_TRUE(std::isnan(zeros.energy(std::vector<float>{0, 0, 0})[0]));
}

}  // namespace
}  // namespace spikescope
