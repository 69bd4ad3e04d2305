#include "stats/window_mean.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
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

TEST(WindowMedian, ErrorIsHalfTheRangeOfTheQuantiles) {
  // One value a window, 0 to 8: 5 of 9 are at most the median. The share's error is sqrt(9 / 8 * (5 * (4 / 9)^2 +
  // 4 * (5 / 9)^2)) / 9, and quantiles of 0 .. 8 are 8 times their place.
  std::vector<std::vector<double>> windows;
  for (int value = 0; value < 9; ++value) windows.push_back({static_cast<double>(value)});
  const double share = std::sqrt(9.0 / 8.0 * (5 * 16.0 / 81 + 4 * 25.0 / 81)) / 9.0;
  EXPECT_NEAR(window_median_error(windows), 8.0 * share, 1e-12);
  // A value ten times in its window does not make the share's error, 0.1757, any smaller: places 89 (1/2 +- 0.1757), which
  // are 60.1 and 28.9, have the values 6 and 2.
  for (auto& window : windows) window.assign(10, window[0]);
  EXPECT_DOUBLE_EQ(window_median_error(windows), 2.0);
}

TEST(WindowMedian, ErrorOfNormalValuesIsThatOfTheory) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(3.0, 2.0);
  Moments errors;
  for (int sample = 0; sample < 200; ++sample) {
    std::vector<std::vector<double>> windows(100);
    for (auto& window : windows) window = {normal(random)};
    errors.add(window_median_error(windows));
  }
  // sqrt(pi / 2) sigma / sqrt(n).
  EXPECT_NEAR(errors.mean(), std::sqrt(1.5707963) * 2.0 / 10.0, 0.02);
}

TEST(WindowMedian, ErrorIsUndefinedForOneWindow) {
  EXPECT_TRUE(std::isnan(window_median_error({})));
  EXPECT_TRUE(std::isnan(window_median_error(std::vector<std::vector<double>>{{1.0, 2.0}, {}})));
  EXPECT_EQ(window_median_error(std::vector<std::vector<double>>{{2.0, 2.0}, {2.0}}), 0.0);
}

}  // namespace
}  // namespace spikescope
