#include "stats/sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Sample, IsSortedDistinctAndInRange) {
  const auto sample = sample_without_replacement(1000, 200, 5, 1);
  ASSERT_THAT(sample, SizeIs(200));
  EXPECT_TRUE(std::is_sorted(sample.begin(), sample.end()));
  EXPECT_EQ(std::adjacent_find(sample.begin(), sample.end()), sample.end());
  EXPECT_GE(sample.front(), 0);
  EXPECT_LT(sample.back(), 1000);
}

TEST(Sample, SeedAndStreamDecide) {
  const auto sample = sample_without_replacement(1000, 20, 5, 1);
  EXPECT_EQ(sample, sample_without_replacement(1000, 20, 5, 1));
  EXPECT_NE(sample, sample_without_replacement(1000, 20, 6, 1));
  EXPECT_NE(sample, sample_without_replacement(1000, 20, 5, 2));
  EXPECT_NE(sample, sample_without_replacement(1000, 20, 5 + (uint64_t{1} << 32), 1)) << "all of the seed counts";
}

TEST(Sample, TakesAllWhereThereAreNoMore) {
  EXPECT_THAT(sample_without_replacement(3, 5, 0, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(sample_without_replacement(0, 5, 0, 0), IsEmpty());
  EXPECT_THAT(sample_without_replacement(5, 0, 0, 0), IsEmpty());
}

}  // namespace
}  // namespace spikescope
