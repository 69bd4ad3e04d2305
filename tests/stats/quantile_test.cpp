#include "stats/quantile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace spikescope {
namespace {

float median_of(const std::vector<float>& values) {
  MagnitudeMedian median;
  median.count(values);
  median.narrow();
  median.refine(values);
  return median.median();
}

TEST(LowerMedian, TakesTheLowerOfTwoMiddleValues) {
  EXPECT_EQ(lower_median({4, 1, 3, 2}), 2);
  EXPECT_EQ(lower_median({5, 1, 3}), 3);
  EXPECT_EQ(lower_median({7}), 7);
  EXPECT_EQ(lower_median({2, 1}), 1);
}

TEST(LowerMedian, IsNanOfNothing) { EXPECT_TRUE(std::isnan(lower_median({}))); }

TEST(MagnitudeMedian, IgnoresSigns) {
  EXPECT_EQ(median_of({-4, 1, 3, -2}), 2);
  EXPECT_EQ(median_of({-5}), 5);
  EXPECT_EQ(median_of({-0.0f, 0.0f, 1.0f}), 0);
}

TEST(MagnitudeMedian, IsNanOfNothing) { EXPECT_TRUE(std::isnan(median_of({}))); }

TEST(MagnitudeMedian, TellsNeighbouringFloatsApart) {
  const float one = 1.0f, next = std::nextafter(one, 2.0f), after = std::nextafter(next, 2.0f);
  EXPECT_EQ(median_of({after, one, next}), next);
  // Either side of a border between coarse buckets.
  const float below = std::nextafter(2.0f, 0.0f);
  EXPECT_EQ(median_of({2.0f, below, 2.0f, below, below}), below);
}

TEST(MagnitudeMedian, CoversTheWholeRange) {
  const float tiny = std::numeric_limits<float>::denorm_min(), huge = std::numeric_limits<float>::max();
  EXPECT_EQ(median_of({tiny, -tiny, huge}), tiny);
  EXPECT_EQ(median_of({huge, -huge, 0.0f}), huge);
}

TEST(MagnitudeMedian, EqualsSortingWhateverThePieces) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> values(10001);
  for (float& value : values) value = normal(random) * (random() % 50 == 0 ? 1000.0f : 1.0f);
  MagnitudeMedian all, rest;
  const std::span<const float> span(values);
  all.count(span.first(1));
  all.count(span.subspan(1, 4000));
  rest.count(span.subspan(4001));
  all.merge(rest);
  all.narrow();
  all.refine(span.first(6000));
  all.refine(span.subspan(6000));
  std::vector<float> sorted;
  for (float value : values) sorted.push_back(std::abs(value));
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(all.median(), sorted[5000]);
}

}  // namespace
}  // namespace spikescope
