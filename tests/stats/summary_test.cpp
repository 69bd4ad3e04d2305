// Moments, the k best, and correlation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"
#include "stats/correlation.h"
#include "stats/moments.h"
#include "stats/top_k.h"

namespace spikescope {
namespace {

TEST(Moments, MeanVarianceAndStandardErrorByHand) {
  Moments moments;
  for (double value : {2.0, 4.0, 4.0, 6.0}) moments.add(value);
  EXPECT_EQ(moments.count(), 4);
  EXPECT_DOUBLE_EQ(moments.mean(), 4.0);
  EXPECT_DOUBLE_EQ(moments.variance(), 8.0 / 3.0);
  EXPECT_DOUBLE_EQ(moments.standard_error(), std::sqrt(8.0 / 3.0 / 4.0));
}

TEST(Moments, AreNanWhereUndefined) {
  Moments moments;
  EXPECT_TRUE(std::isnan(moments.mean()));
  moments.add(3.0);
  EXPECT_EQ(moments.mean(), 3.0);
  EXPECT_TRUE(std::isnan(moments.variance()));
  EXPECT_TRUE(std::isnan(moments.standard_error()));
}

TEST(Moments, KeepSmallSpreadOnALargeMean) {
  Moments moments;
  for (double value : {1e9 + 1, 1e9 + 2, 1e9 + 3}) moments.add(value);
  EXPECT_DOUBLE_EQ(moments.variance(), 1.0);
}

TEST(TopK, KeepsTheBestInOrder) {
  TopK<int, std::greater<>> top(3);
  for (int value : {4, 9, 1, 7, 8}) top.add(value);
  EXPECT_THAT(top.items(), ::testing::ElementsAre(9, 8, 7));
  EXPECT_TRUE(top.full());
}

TEST(TopK, HoldsFewerThanK) {
  TopK<int, std::greater<>> top(3);
  EXPECT_FALSE(top.full());
  top.add(1);
  top.add(2);
  EXPECT_THAT(top.items(), ::testing::ElementsAre(2, 1));
}

TEST(TopK, EqualItemsStayInOrderOfArrival) {
  struct Larger {
    bool operator()(std::pair<int, char> a, std::pair<int, char> b) const { return a.first > b.first; }
  };
  TopK<std::pair<int, char>, Larger> top(2);
  for (const auto& item : {std::pair(1, 'a'), std::pair(1, 'b'), std::pair(1, 'c')}) top.add(item);
  EXPECT_THAT(top.items(), ::testing::ElementsAre(std::pair(1, 'a'), std::pair(1, 'b')));
}

TEST(TopK, OfNoneStaysEmpty) {
  TopK<int, std::greater<>> top(0);
  top.add(5);
  EXPECT_TRUE(top.items().empty());
}

TEST(Correlation, ByHand) {
  const double x[] = {1, 2, 3}, up[] = {10, 20, 30}, down[] = {3, 2, 1}, mixed[] = {1, 3, 2};
  EXPECT_DOUBLE_EQ(correlation(x, up), 1.0);
  EXPECT_DOUBLE_EQ(correlation(x, down), -1.0);
  EXPECT_DOUBLE_EQ(correlation(x, mixed), 0.5);
}

TEST(Correlation, IsNanWhereUndefined) {
  const double x[] = {1, 2, 3}, constant[] = {0.1, 0.1, 0.1};
  EXPECT_TRUE(std::isnan(correlation(x, constant)));
  EXPECT_TRUE(std::isnan(correlation(constant, x)));
  EXPECT_TRUE(std::isnan(correlation(std::span(x, 1), std::span(constant, 1))));
  EXPECT_TRUE(std::isnan(correlation({}, {})));
}

TEST(Correlation, RefusesSeriesOfDifferentLength) {
  const double x[] = {1, 2, 3}, y[] = {1, 2};
  EXPECT_THROW(correlation(x, y), Error);
}

}  // namespace
}  // namespace spikescope
