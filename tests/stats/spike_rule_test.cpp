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
using ::testing::SizeIs;

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

TEST(SpikeRule, PValueByHand) {
  // 12 tokens, reference down to the ninth longest: gaps below the longest, below the second, and six of 1 below.
  const std::vector<double> norms = {90, 20, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3};
  const double second = 2.0 * 8, first = 70.0, below = 3 + 4 + 5 + 6 + 7 + 8;
  const double places = 1.0 + 1.0 / 4;
  const SpikeTokens found = find_spike_tokens(norms);
  EXPECT_THAT(found.tokens, IsEmpty());
  EXPECT_EQ(found.gap, 0.0);
  EXPECT_NEAR(found.p_value, places * std::pow((below + second) / (below + second + first), 7), 1e-12);
  std::vector<double> longer = norms;
  longer[0] = 300;
  const SpikeTokens one = find_spike_tokens(longer);
  EXPECT_THAT(one.tokens, ElementsAre(0));
  EXPECT_NEAR(one.p_value, places * std::pow((below + second) / (below + second + 280), 7), 1e-12);
  EXPECT_NEAR(one.gap, std::log10(15.0), 1e-12);
  EXPECT_NEAR(one.threshold, std::sqrt(6000.0) / 8, 1e-12);
}

TEST(SpikeRule, OfSignificantGapsTheWidestParts) {
  // 30 tokens, three at most: both gaps are significant, one of 20 times and one of 77.
  std::vector<double> norms(30);
  for (size_t i = 0; i < norms.size(); ++i) norms[i] = 1.0 + 0.01 * static_cast<double>(i);
  norms[4] = 2000.0;
  norms[9] = 100.0;
  EXPECT_THAT(find_spike_tokens(norms).tokens, ElementsAre(4, 9));
  norms[4] = 20000.0;
  EXPECT_THAT(find_spike_tokens(norms).tokens, ElementsAre(4));
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
  // Two tokens have no spacing to compare with, and three only one: 1,000 times as wide is no wonder at this rate.
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 10}).tokens, IsEmpty());
  EXPECT_EQ(find_spike_tokens(std::vector<double>{1, 10}).p_value, 1.0);
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 1.01, 10}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 1.01, 100}).tokens, ElementsAre(2));
  EXPECT_THAT(find_spike_tokens(std::vector<double>{1, 1.1, 20, 1.2, 1.1}).tokens, ElementsAre(2));
}

TEST(SpikeRule, EqualNorms) {
  EXPECT_THAT(find_spike_tokens(std::vector<double>(50, 3.0)).tokens, IsEmpty());
  EXPECT_EQ(find_spike_tokens(std::vector<double>(50, 3.0)).p_value, 1.0);
  // Equal but for float32 rounding.
  std::vector<double> norms(50, 3.0);
  norms[8] = static_cast<double>(std::nextafter(3.0f, 4.0f));
  EXPECT_THAT(find_spike_tokens(norms).tokens, IsEmpty());
}

TEST(SpikeRule, NothingToCompareWithZeros) {
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 0, 5}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 0, 0}).tokens, IsEmpty());
  EXPECT_THAT(find_spike_tokens(std::vector<double>{0, 1, 1.1, 1, 1.1, 1, 1.1, 1, 90}).tokens, ElementsAre(8));
}

TEST(SpikeRule, SpikesDoNotHideOneAnother) {
  std::vector<double> norms(100);
  for (size_t i = 0; i < norms.size(); ++i) norms[i] = 1.0 + 0.001 * static_cast<double>(i);
  for (size_t spikes = 1; spikes <= 10; ++spikes) {
    norms[10 * spikes - 1] = 50.0 + 3.0 * static_cast<double>(spikes);
    EXPECT_THAT(find_spike_tokens(norms).tokens, SizeIs(spikes));
  }
  norms[3] = 60.0;  // more than a tenth are no exception
  EXPECT_THAT(find_spike_tokens(norms).tokens, IsEmpty());
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
