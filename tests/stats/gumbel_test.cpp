#include "stats/gumbel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace spikescope {
namespace {

double gumbel_sample(std::mt19937_64& random, double location, double scale) {
  std::uniform_real_distribution<double> uniform(1e-300, 1.0);
  return location - scale * std::log(-std::log(uniform(random)));
}

TEST(Gumbel, FitFindsTheDistributionAndSurprisesAreThoseOfUniformNumbers) {
  std::mt19937_64 random(3);
  std::vector<double> values;
  for (int i = 0; i < 20000; ++i) values.push_back(gumbel_sample(random, -2.0, 0.7));
  const Gumbel fitted = fit_gumbel(values);
  EXPECT_NEAR(fitted.location, -2.0, 0.03);
  EXPECT_NEAR(fitted.scale, 0.7, 0.03);
  // -ln of a uniform number has mean 1 and exceeds 3 in 5 % of cases.
  double sum = 0.0;
  int beyond = 0;
  for (const double value : values) {
    sum += fitted.surprise(value);
    beyond += fitted.surprise(value) > 3.0;
  }
  EXPECT_NEAR(sum / 20000, 1.0, 0.05);
  EXPECT_NEAR(beyond / 20000.0, std::exp(-3.0), 0.01);
}

TEST(Gumbel, AFewOutliersDoNotMoveTheFit) {
  std::mt19937_64 random(4);
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i) values.push_back(gumbel_sample(random, 0.0, 1.0));
  const Gumbel before = fit_gumbel(values);
  for (int i = 0; i < 20; ++i) values[static_cast<size_t>(i)] = 1e6;
  values[30] = std::numeric_limits<double>::quiet_NaN();
  values[31] = -std::numeric_limits<double>::infinity();
  const Gumbel after = fit_gumbel(values);
  EXPECT_NEAR(after.location, before.location, 0.06);
  EXPECT_NEAR(after.scale, before.scale, 0.06);
}

TEST(Gumbel, SurpriseGrowsWithoutEndAndIsZeroWhereNothingIsKnown) {
  const Gumbel standard{0.0, 1.0};
  double last = -1.0;
  for (double x = -5.0; x < 100.0; x += 0.5) {
    EXPECT_GE(standard.surprise(x), last);
    last = standard.surprise(x);
  }
  EXPECT_NEAR(standard.surprise(1000.0), 1000.0, 1e-9);
  EXPECT_NEAR(standard.surprise(29.99), standard.surprise(30.01), 0.03);
  EXPECT_EQ(standard.surprise(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(fit_gumbel({1.0, 1.0, 1.0, 1.0, 5.0}).surprise(5.0), 0.0);
  EXPECT_EQ(fit_gumbel({1.0, 2.0}).surprise(5.0), 0.0);
}

TEST(Gumbel, SumsOfSurprisesFollowFisher) {
  for (const double sum : {0.1, 1.0, 7.0, 300.0}) {
    EXPECT_NEAR(log_probability_of_sum(1, sum), -sum, 1e-9);
    EXPECT_NEAR(log_probability_of_sum(2, sum), std::log1p(sum) - sum, 1e-9);
  }
  EXPECT_EQ(log_probability_of_sum(30, 0.0), 0.0);
  EXPECT_LT(log_probability_of_sum(100, 1e5), -9e4);
  EXPECT_TRUE(std::isfinite(log_probability_of_sum(100, 1e5)));
  std::mt19937_64 random(5);
  std::exponential_distribution<double> surprise(1.0);
  int beyond = 0;
  for (int i = 0; i < 20000; ++i) {
    double sum = 0.0;
    for (int k = 0; k < 6; ++k) sum += surprise(random);
    beyond += sum >= 9.0;
  }
  EXPECT_NEAR(beyond / 20000.0, std::exp(log_probability_of_sum(6, 9.0)), 0.01);
}

}  // namespace
}  // namespace spikescope
