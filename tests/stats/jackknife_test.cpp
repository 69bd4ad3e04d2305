#include "stats/jackknife.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "stats/moments.h"

namespace spikescope {
namespace {

TEST(Jackknife, OfAMeanItIsTheStandardError) {
  const std::vector<double> values = {3.0, -1.0, 4.0, 1.5, 9.0};
  Moments moments;
  double sum = 0.0;
  for (const double value : values) {
    moments.add(value);
    sum += value;
  }
  std::vector<double> left_out;
  for (const double value : values) left_out.push_back((sum - value) / 4);
  EXPECT_NEAR(jackknife_error(left_out), moments.standard_error(), 1e-12);
}

TEST(Jackknife, UndefinedBelowTwoGroupsAndWhereTheStatisticIs) {
  EXPECT_TRUE(std::isnan(jackknife_error({})));
  EXPECT_TRUE(std::isnan(jackknife_error(std::vector{1.0})));
  EXPECT_TRUE(std::isnan(jackknife_error(std::vector{1.0, std::nan(""), 2.0})));
  EXPECT_EQ(jackknife_error(std::vector{2.0, 2.0}), 0.0);
}

}  // namespace
}  // namespace spikescope
