#include "stats/spike_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SpikeRule, FindsOneLongToken) {
  const SpikeTokens found = find_spike_tokens(std::vector<double>{100, 1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_THAT(found.tokens, ElementsAre(0));
  EXPECT_DOUBLE_EQ(found.gap, 2.0);
  EXPECT_DOUBLE_EQ(found.threshold, 10.0);
}

TEST(SpikeRule, CutsAtTheLargestGapAmongTheLargestTenth) {
  // 40 tokens: the four largest may be spikes. 800 and 400 are apart by 0.3 decades, 400 and 2 by 2.3.
  std::vector<double> norms(40, 1.0);
  norms[7] = 400.0;
  norms[31] = 800.0;
  norms[3] = 2.0;
  EXPECT_THAT(find_spike_tokens(norms).tokens, ElementsAre(7, 31));
}

TEST(SpikeRule, TenthIsRoundedUp) {
  std::vector<double> norms(11, 1.0);
  norms[0] = norms[5] = 100.0;
  EXPECT_THAT(find_spike_tokens(norms).tokens, ElementsAre(0, 5));
  norms.pop_back();  // 10 tokens: one at most, and the two are equally long
  EXPECT_THAT(find_spike_tokens(norms).tokens, IsEmpty());
}

TEST(SpikeRule, NeedsAGapOfAFifthOfADecade) {
  const double factor = std::pow(10.0, 0.2);
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 1, factor * 1.001, 1}).tokens, ElementsAre(2));
  const SpikeTokens none = find_spike_tokens(std::vector<double>{1, 1, factor * 0.999, 1});
  EXPECT_THAT(none.tokens, IsEmpty());
  EXPECT_EQ(none.threshold, 0.0);
  EXPECT_NEAR(none.gap, 0.2, 1e-3);
}

TEST(SpikeRule, DoesNotDependOnTheUnit) {
  for (double unit : {1e-200, 1.0, 1e200}) {
    const SpikeTokens found = find_spike_tokens(std::vector<double>{2 * unit, 50 * unit, 2 * unit});
    EXPECT_THAT(found.tokens, ElementsAre(1));
    EXPECT_NEAR(found.threshold, 5.0, 1e-12);
  }
}

TEST(SpikeRule, TinyWindows) {
  EXPECT_THAT(find_spike_tokens({}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{5}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 1}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 10}).tokens, ElementsAre(1));
}

TEST(SpikeRule, NothingToCompareWithZeros) {
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 0, 5}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 0, 0}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 1, 9}).tokens, ElementsAre(2));
}

TEST(SpikeRule, RefusesWhatIsNotFinite) {
  EXPECT_THROW(find_spike_tokens(std::vector<double>{1, std::numeric_limits<double>::quiet_NaN()}), Error);
  EXPECT_THROW(find_spike_tokens(std::vector<double>{1, std::numeric_limits<double>::infinity()}), Error);
}

TEST(RowNorms, ByHandAndWithStride) {
  const float rows[] = {3, 4, 99, 0, 0, 99, 1, -1, 99};
  EXPECT_THAT(row_norms(rows, 3, 2, 3), ElementsAre(5.0, 0.0, std::sqrt(2.0)));
}

TEST(RowNorms, AccumulateInDouble) {
  // In float the small entries would vanish beside the large one.
  std::vector<float> row(4097, 1.0f);
  row[5] = 1e5f;
  EXPECT_DOUBLE_EQ(row_norms(row.data(), 1, 4097, 4097)[0], std::sqrt(1e10 + 4096.0));
  const float huge[] = {3e38f, 3e38f};
  EXPECT_NEAR(row_norms(huge, 1, 2, 2)[0], 3e38 * std::sqrt(2.0), 1e32);
}

TEST(RowNorms, ShowWhatIsNotFinite) {
  const float rows[] = {1, std::numeric_limits<float>::quiet_NaN(), 1, -std::numeric_limits<float>::infinity()};
  EXPECT_TRUE(std::isnan(row_norms(rows, 2, 2, 2)[0]));
  EXPECT_TRUE(std::isinf(row_norms(rows, 2, 2, 2)[1]));
}

}  // namespace
}  // namespace spikescope
