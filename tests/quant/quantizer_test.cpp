#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "../error_of.h"
#include "quant/value_histogram.h"

namespace spikescope {
namespace {

TEST(Quantizer, RoundsToTheNearestEvenPointAndClips) {
  const Quantizer q = Quantizer::symmetric(4, 7.5);  // step 1, from -8 to 7
  for (const auto& [from, to] : {std::pair{0.4f, 0.0f},
                                 {0.5f, 0.0f},
                                 {1.5f, 2.0f},
                                 {2.5f, 2.0f},
                                 {-2.5f, -2.0f},
                                 {-3.6f, -4.0f},
                                 {7.4f, 7.0f},
                                 {900.0f, 7.0f},
                                 {-7.4f, -7.0f},
                                 {-7.6f, -8.0f},
                                 {-1e30f, -8.0f}})
    EXPECT_EQ(q(from), to) << from;
}

TEST(Quantizer, AsymmetricGridsHaveZeroOnThem) {
  const Quantizer q = Quantizer::asymmetric(4, -1.0, 14.0);  // step 1
  for (const auto& [from, to] : {std::pair{0.0f, 0.0f}, {-0.7f, -1.0f}, {-5.0f, -1.0f}, {13.6f, 14.0f}, {99.0f, 14.0f}})
    EXPECT_EQ(q(from), to) << from;
  // A range that leaves 0 out is widened to it.
  EXPECT_EQ(Quantizer::asymmetric(8, 3.0, 255.0)(0.0f), 0.0f);
}

TEST(Quantizer, RowsAgreeWithSingleValuesWhateverTheirStride) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const int64_t rows = 150, size = 37, stride = 41;
  std::vector<float> values(static_cast<size_t>(rows * stride)), before;
  for (float& value : values) value = normal(random);
  before = values;
  const Quantizer q = Quantizer::symmetric(8, 2.0);
  quantize_rows({values.data(), {rows, size}, stride}, q);
  for (int64_t i = 0; i < rows * stride; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(values[at], i % stride < size ? q(before[at]) : before[at]) << i;
  }

  values = before;
  quantize_rows_dynamic({values.data(), {rows, size}, stride}, 8, false);
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = before.data() + row * stride;
    const float largest = largest_magnitude(from, size);
    for (int64_t i = 0; i < size; ++i)
      EXPECT_NEAR(values[static_cast<size_t>(row * stride + i)], from[i], 0.5001f * largest / 127.5f);
  }
}

TEST(Quantizer, HeadsHaveGridsOfTheirOwn) {
  // Two rows of two heads of three, with one value between rows that is nobody's.
  std::vector<float> values = {7.5f, 1.2f, -2.6f, 75.0f, 12.0f, -26.0f, 0.3f, 0.0f, 0.0f, 0.0f, -7.5f, 3.4f, 0.6f, 0.3f};
  quantize_heads_dynamic({values.data(), {2, 2, 3}, 7}, 4, false);
  const std::vector<float> expected = {7.0f, 1.0f, -3.0f, 70.0f, 10.0f, -30.0f, 0.3f,
                                       0.0f, 0.0f, 0.0f,  -8.0f, 3.0f,  1.0f,   0.3f};
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 1e-4) << i;
}

TEST(Quantizer, ASiteOfZerosStaysSo) { EXPECT_EQ(Quantizer::symmetric(8, 0.0)(0.0f), 0.0f); }

TEST(Quantizer, RefusesWhatCannotBe) {
  EXPECT_NE(testing::error_of([] { Quantizer::symmetric(1, 1.0); }).find("1 bits"), std::string::npos);
  EXPECT_NE(testing::error_of([] { Quantizer::symmetric(8, -1.0); }).find("-1"), std::string::npos);
  EXPECT_NE(testing::error_of([] { Quantizer::symmetric(8, std::nan("")); }).find("nan"), std::string::npos);
  EXPECT_NE(testing::error_of([] { Quantizer::asymmetric(8, 2.0, 1.0); }).find("ascending"), std::string::npos);
}

/// Mean square error of a symmetric quantizer on the values themselves.
double true_error(const std::vector<float>& values, int bits, double clip) {
  const Quantizer q = Quantizer::symmetric(bits, clip);
  double sum = 0.0;
  for (const float value : values) sum += std::pow(static_cast<double>(q(value)) - value, 2);
  return sum / static_cast<double>(values.size());
}

TEST(ClipSearch, FindsTheClipThatTheValuesThemselvesLikeBest) {
  std::mt19937 random(5);
  std::student_t_distribution<float> tails(3.0f);
  std::vector<float> values(40000);
  for (float& value : values) value = tails(random);
  ValueHistogram histogram;
  histogram.add(values.data(), static_cast<int64_t>(values.size()));
  const double largest = histogram.largest();
  EXPECT_EQ(largest, largest_magnitude(values.data(), static_cast<int64_t>(values.size())));
  for (const int bits : {8, 6, 4}) {
    double least = std::numeric_limits<double>::infinity();
    for (double share = 1.0; share > 0.005; share *= 0.985)
      least = std::min(least, true_error(values, bits, share * largest));
    const ClipSearch::Range found = ClipSearch(histogram).symmetric(bits);
    EXPECT_LT(true_error(values, bits, found.high), 1.01 * least) << bits;
    EXPECT_NEAR(found.error, true_error(values, bits, found.high), 0.02 * least) << bits;
    EXPECT_EQ(found.low, -found.high);
  }
}

TEST(ClipSearch, AsymmetricRangesFollowTheValues) {
  std::mt19937 random(6);
  std::exponential_distribution<float> one_sided(1.0f);
  ValueHistogram histogram;
  for (int i = 0; i < 20000; ++i) {
    const float value = one_sided(random) - 0.1f;
    histogram.add(&value, 1);
  }
  const ClipSearch search(histogram);
  const ClipSearch::Range both = search.asymmetric(4), symmetric = search.symmetric(4);
  EXPECT_LT(both.error, 0.5 * symmetric.error);
  EXPECT_LT(both.high, histogram.highest());
  EXPECT_GT(both.low, -0.1001);
}

/// A uniform density from -1 to 3 has a grid without loss at its ends: 16 points a step apart, half a step from both.
/// With 0 on it the step is 0.25 and 0 is at the fourth point: from -1 to 2.75, error 1/12 of a squared step inside and
/// more in the last half step, which is clipped (or the like at the other end).
TEST(ClipSearch, PutsZeroWhereTheValuesWantIt) {
  ValueHistogram histogram;
  for (int i = 0; i < 40000; ++i) {
    const float value = -1.0f + (static_cast<float>(i) + 0.5f) * 1e-4f;
    histogram.add(&value, 1);
  }
  const ClipSearch::Range range = ClipSearch(histogram).asymmetric(4);
  const double step = (range.high - range.low) / 15.0;
  EXPECT_NEAR(step, 0.25, 0.01);
  EXPECT_NEAR(range.low / step, -4.0, 1e-9);
  EXPECT_LT(range.error, 1.1 * 0.25 * 0.25 / 12.0);
  EXPECT_GT(range.error, 0.99 * 0.25 * 0.25 / 12.0);
}

/// Few values far above do not draw 0 to the lower end.
TEST(ClipSearch, ATailDoesNotChooseThePlaceOfZero) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  ValueHistogram histogram;
  for (int i = 0; i < 40000; ++i) {
    const float value = i < 2 ? 60.0f : normal(random);
    histogram.add(&value, 1);
  }
  const ClipSearch search(histogram);
  const ClipSearch::Range both = search.asymmetric(4), symmetric = search.symmetric(4);
  EXPECT_LE(both.error, 1.0001 * symmetric.error);
  EXPECT_LT(both.low, -1.5);
}

/// The best grids of 16 points for a normal density (Max 1960, table II): step 0.3352 and error 0.01154 where 0 is
/// between two points; with 0 on it the error is 0.01186, and that of 15 points 0.01289.
TEST(ClipSearch, AllPointsOfAGridCount) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  ValueHistogram histogram;
  for (int i = 0; i < 400000; ++i) {
    const float value = normal(random);
    histogram.add(&value, 1);
  }
  const ClipSearch search(histogram);
  const double sixteen = search.symmetric(4).error;
  EXPECT_GT(sixteen, 0.01154);
  EXPECT_LT(sixteen, 0.0122);
  EXPECT_LT(search.asymmetric(4).error, 1.001 * sixteen);
  EXPECT_GT(search.error(0.35, 7.0, 7.0), 1.05 * sixteen);
}

TEST(ValueHistogram, WeightsAreRepetitions) {
  const std::vector<float> values = {0.5f, -2.0f, 7.0f};
  const std::vector<uint32_t> weights = {3, 1, 2};
  ValueHistogram weighted, repeated;
  weighted.add(values.data(), 3, weights.data());
  for (size_t i = 0; i < 3; ++i)
    for (uint32_t n = 0; n < weights[i]; ++n) repeated.add(&values[i], 1);
  EXPECT_EQ(weighted.count(), 6);
  EXPECT_EQ(weighted.lowest(), -2.0f);
  EXPECT_EQ(weighted.highest(), 7.0f);
  for (const double step : {0.3, 1.0})
    EXPECT_EQ(ClipSearch(weighted).error(step, 8.0, 7.0), ClipSearch(repeated).error(step, 8.0, 7.0));
}

TEST(ValueHistogram, KnowsQuantilesWithinABin) {
  ValueHistogram histogram, other;
  for (int i = 1; i <= 1000; ++i) {
    const float value = static_cast<float>(i % 2 ? i : -i);
    (i % 3 ? histogram : other).add(&value, 1);
  }
  histogram.merge(other);
  EXPECT_EQ(histogram.count(), 1000);
  EXPECT_EQ(histogram.lowest(), -1000.0f);
  EXPECT_EQ(histogram.highest(), 999.0f);
  EXPECT_NEAR(histogram.magnitude_quantile(0.5), 500.0, 5.0);
  EXPECT_EQ(histogram.magnitude_quantile(1.0), 1000.0);
  histogram.clear();
  EXPECT_TRUE(std::isnan(histogram.magnitude_quantile(0.5)));
  EXPECT_EQ(ClipSearch(histogram).symmetric(8).high, 0.0);
}

}  // namespace
}  // namespace spikescope
