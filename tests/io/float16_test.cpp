#include "io/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace spikescope {
namespace {

// One value at every place of a vector, so that both the eight-at-a-time path and the remainder are tested.
std::vector<uint16_t> convert(float value) {
  const std::vector<float> values(11, value);
  std::vector<uint16_t> halves(values.size());
  floats_to_float16(values, halves.data());
  return halves;
}

double exact(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

TEST(Float16, EveryFloat16SurvivesTheRoundTrip) {
  std::vector<uint16_t> halves(1 << 16), back(1 << 16);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> floats(halves.size());
  float16_to_floats(halves, floats.data());
  floats_to_float16(floats, back.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    const bool nan = (i & 0x7c00) == 0x7c00 && (i & 0x3ff) != 0;
    if (nan) {
      ASSERT_TRUE(std::isnan(floats[i])) << i;
      ASSERT_EQ(back[i], i | 0x200) << "a NaN stays one and becomes quiet";
    } else {
      ASSERT_EQ(back[i], i);
      if ((i & 0x7c00) != 0x7c00) {
        ASSERT_EQ(floats[i], exact(halves[i])) << i;
      }
    }
  }
}

TEST(Float16, RoundsToNearestEven) {
  // Between each two neighbours: just below the middle, the middle, just above it; for normal and subnormal numbers.
  for (uint16_t half = 0; half < 0x7bff; half += 3) {
    const uint16_t next = half + 1;
    const auto middle = static_cast<float>((exact(half) + exact(next)) / 2);
    const auto below = std::nextafter(middle, 0.0f), above = std::nextafter(middle, INFINITY);
    for (const uint16_t got : convert(below)) ASSERT_EQ(got, half);
    for (const uint16_t got : convert(above)) ASSERT_EQ(got, next);
    for (const uint16_t got : convert(middle)) ASSERT_EQ(got, half % 2 ? next : half);
    for (const uint16_t got : convert(-above)) ASSERT_EQ(got, next | 0x8000);
  }
}

TEST(Float16, EdgesOfTheRange) {
  for (const uint16_t got : convert(65504.0f)) EXPECT_EQ(got, 0x7bff);
  for (const uint16_t got : convert(65519.99f)) EXPECT_EQ(got, 0x7bff);
  for (const uint16_t got : convert(65520.0f)) EXPECT_EQ(got, 0x7c00);
  for (const uint16_t got : convert(-std::numeric_limits<float>::max())) EXPECT_EQ(got, 0xfc00);
  for (const uint16_t got : convert(-INFINITY)) EXPECT_EQ(got, 0xfc00);
  for (const uint16_t got : convert(std::numeric_limits<float>::denorm_min())) EXPECT_EQ(got, 0);
  for (const uint16_t got : convert(-0.0f)) EXPECT_EQ(got, 0x8000);
  for (const uint16_t got : convert(std::numeric_limits<float>::quiet_NaN())) EXPECT_EQ(got & 0x7e00, 0x7e00);
}

TEST(Float16, FindsTheFirstValueBeyondTheRange) {
  std::vector<float> values(10'000, 65504.0f);
  values[3] = INFINITY;
  values[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_beyond_float16(values), std::nullopt);
  values[9'999] = 1e6f;
  EXPECT_EQ(first_beyond_float16(values), 9'999);
  values[5'000] = -65504.01f;
  EXPECT_EQ(first_beyond_float16(values), 5'000);
  EXPECT_EQ(first_beyond_float16({}), std::nullopt);
}

}  // namespace
}  // namespace spikescope
