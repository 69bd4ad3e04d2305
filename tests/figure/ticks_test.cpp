#include "figure/ticks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace spikescope {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> out;
  for (const Tick& tick : ticks) out.push_back(tick.label);
  return out;
}

Axis axis(bool log) {
  Axis out;
  out.log = log;
  return out;
}

TEST(NumberLabel, WritesAsPeopleDo) {
  EXPECT_EQ(number_label(23147.14, 1), "23,147");
  EXPECT_EQ(number_label(-1234567, 1000), "−1,234,567");
  EXPECT_EQ(number_label(0.05, 0.01), "0.05");
  EXPECT_EQ(number_label(0, 0.01), "0");
  EXPECT_EQ(number_label(2.5e12, 5e11), "2.5×10¹²");
  EXPECT_EQ(number_label(1e-9, 1e-9), "1×10⁻⁹");
  EXPECT_EQ(number_label(NAN, 1), "NaN");
  EXPECT_EQ(number_label(-INFINITY, 1), "−∞");
}

TEST(ValueLabel, HasThreeDigits) {
  EXPECT_EQ(value_label(23147.14), "23,147");
  EXPECT_EQ(value_label(12.54), "12.5");
  EXPECT_EQ(value_label(60.0), "60");
  EXPECT_EQ(value_label(0.0712), "0.0712");
  EXPECT_EQ(value_label(0.71), "0.71");
}

TEST(AxisTicks, RoundNumbers) {
  EXPECT_THAT(labels(axis_ticks(axis(false), {0, 1, false}, 5)), ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1.0"));
  EXPECT_THAT(labels(axis_ticks(axis(false), {-510, 600, false}, 5)),
              ElementsAre("−400", "−200", "0", "200", "400", "600"));
  EXPECT_THAT(labels(axis_ticks(axis(false), {0, 3, false}, 7, true)), ElementsAre("0", "1", "2", "3"));
}

TEST(AxisTicks, PowersOfTen) {
  EXPECT_THAT(labels(axis_ticks(axis(true), {0.05, 40000, true}, 6)),
              ElementsAre("10⁻¹", "10⁰", "10¹", "10²", "10³", "10⁴"));
  EXPECT_LE(axis_ticks(axis(true), {1e-200, 1e200, true}, 6).size(), 7u);
  EXPECT_THAT(labels(axis_ticks(axis(true), {90, 600, true}, 6)), ElementsAre("100", "200", "500"));
}

TEST(AxisTicks, NamesAreThinned) {
  Axis names;
  for (int i = 0; i < 100; ++i) names.categories.push_back(fmt::format("t{}", i));
  const auto ticks = axis_ticks(names, axis_range(names, {}), 12);
  EXPECT_LE(ticks.size(), 12u);
  EXPECT_EQ(ticks[0].label, "t0");
  EXPECT_EQ(ticks[1].label, fmt::format("t{}", static_cast<int>(ticks[1].at)));
}

TEST(AxisRange, IsNeverEmpty) {
  const double nan = NAN, huge = std::numeric_limits<double>::max();
  const std::vector<std::vector<double>> cases = {{},     {nan},         {5},           {0},      {-3},
                                                  {7, 7}, {INFINITY, 1}, {-huge, huge}, {1e-320}, {0, -1}};
  for (const auto& data : cases) {
    for (const bool log : {false, true}) {
      for (const bool from_zero : {false, true}) {
        const Range range = axis_range(axis(log), data, from_zero);
        EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high) && range.low < range.high);
        EXPECT_FALSE(axis_ticks(axis(log), range, 6).size() > 50);
        EXPECT_TRUE(!log || range.low > 0);
        for (const double value : data) {
          if (drawable(value, log) && std::abs(value) < 1e300 && value > -1e300 && (!log || value > 1e-299)) {
            EXPECT_GE(range.position(value), 0) << value;
            EXPECT_LE(range.position(value), 1) << value;
          }
        }
      }
    }
  }
}

TEST(AxisRange, StartsAtZeroForBarsAndWhatBeginsNearIt) {
  EXPECT_EQ(axis_range(axis(false), std::vector<double>{5, 6}, true).low, 0);
  EXPECT_EQ(axis_range(axis(false), std::vector<double>{1, 6}).low, 0);
  EXPECT_GT(axis_range(axis(false), std::vector<double>{5, 6}).low, 4);
  EXPECT_EQ(axis_range(axis(false), std::vector<double>{-5, -6}, true).high, 0);
}

TEST(AxisRange, TakesGivenLimits) {
  Axis given = axis(false);
  given.min = -1;
  given.max = 2;
  const Range range = axis_range(given, std::vector<double>{5, 6});
  EXPECT_EQ(range.low, -1);
  EXPECT_EQ(range.high, 2);
  given.log = true;  // a limit of -1 cannot be
  EXPECT_GT(axis_range(given, std::vector<double>{5, 6}).low, 0);
}

TEST(Range, Position) {
  EXPECT_DOUBLE_EQ((Range{10, 1000, true}.position(100)), 0.5);
  EXPECT_TRUE(std::isnan(Range{1, 10, true}.position(0)));
  EXPECT_DOUBLE_EQ((Range{-1, 3, false}.position(0)), 0.25);
}

TEST(AllWhole, IgnoresGaps) {
  EXPECT_TRUE(all_whole(std::vector<double>{1, NAN, 3}));
  EXPECT_FALSE(all_whole(std::vector<double>{1, 2.5}));
}

}  // namespace
}  // namespace spikescope
