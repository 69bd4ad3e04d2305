#include "stats/window_mean.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "stats/moments.h"

namespace spikescope {
namespace {

TEST(WindowMean, OfWindowsOfOneSizeIsThePlainMeanAndItsError) {
  const std::vector<double> sums = {20.0, 40.0, 40.0, 60.0}, counts(4, 10.0);
  Moments plain;
  for (const double sum : sums) plain.add(sum / 10.0);
  const WindowMean mean = window_mean(sums, counts);
  EXPECT_DOUBLE_EQ(mean.mean, plain.mean());
  EXPECT_DOUBLE_EQ(mean.standard_error, plain.standard_error());
}

TEST(WindowMean, LongerWindowsCountMore) {
  // mean = 10 / 4; residuals 1 - 2.5 and 9 - 7.5; se^2 = 2 / 1 * (2.25 + 2.25) / 16.
  const WindowMean mean = window_mean(std::vector{1.0, 9.0}, std::vector{1.0, 3.0});
  EXPECT_DOUBLE_EQ(mean.mean, 2.5);
  EXPECT_DOUBLE_EQ(mean.standard_error, std::sqrt(2.0 * 4.5) / 4.0);
}

TEST(WindowMean, WindowsWithoutItemsDoNotCount) {
  const WindowMean with = window_mean(std::vector{1.0, 0.0, 9.0}, std::vector{1.0, 0.0, 3.0});
  EXPECT_DOUBLE_EQ(with.standard_error, std::sqrt(2.0 * 4.5) / 4.0);
  EXPECT_TRUE(std::isnan(window_mean(std::vector{0.0}, std::vector{0.0}).mean));
  const WindowMean one = window_mean(std::vector{6.0, 0.0}, std::vector{3.0, 0.0});
  EXPECT_EQ(one.mean, 2.0);
  EXPECT_TRUE(std::isnan(one.standard_error));
}

}  // namespace
}  // namespace spikescope
