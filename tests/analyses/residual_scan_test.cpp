#include "analyses/residual_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "stats/spike_rule.h"

namespace spikescope {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kDims = 64;

/// Normally distributed entries with standard deviation 1.
struct State {
  int64_t tokens;
  std::vector<float> values;

  explicit State(int64_t tokens_, unsigned seed = 1) : tokens(tokens_), values(static_cast<size_t>(tokens_ * kDims)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
  }
  float& at(int64_t token, int64_t dim) { return values[static_cast<size_t>(token * kDims + dim)]; }
  WindowScan scan() const { return scan_window(values, kDims, row_norms(values.data(), tokens, kDims, kDims)); }
};

TEST(ScanWindow, FindsASpikeWithItsDimensions) {
  State state(12);
  state.at(3, 10) = -500.0f;
  state.at(3, 20) = 260.0f;
  state.at(3, 30) = 240.0f;  // below half of the largest
  const WindowScan scan = state.scan();
  ASSERT_THAT(scan.spikes, SizeIs(1));
  EXPECT_EQ(scan.spikes[0].token, 3);
  ASSERT_THAT(scan.spikes[0].dims, SizeIs(2));
  EXPECT_EQ(scan.spikes[0].dims[0].dim, 10);
  EXPECT_EQ(scan.spikes[0].dims[0].value, -500.0f);
  EXPECT_EQ(scan.spikes[0].dims[1].dim, 20);
  EXPECT_GT(scan.spikes[0].nu, 50.0);
}

TEST(ScanWindow, MedianIsTheLowerMedianOfMagnitudes) {
  State state(7, 5);
  std::vector<float> magnitudes;
  for (float value : state.values) magnitudes.push_back(std::abs(value));
  std::sort(magnitudes.begin(), magnitudes.end());
  EXPECT_EQ(state.scan().median, magnitudes[(magnitudes.size() - 1) / 2]);
}

TEST(ScanWindow, KeepsTheLargestEntriesSigned) {
  State state(12);
  for (int k = 0; k < 12; ++k) state.at(k, k) = static_cast<float>(k % 2 ? 50 + k : -50 - k);
  const WindowScan scan = state.scan();
  ASSERT_THAT(scan.top, SizeIs(kTopEntries));
  for (size_t k = 0; k < kTopEntries; ++k) {
    const auto place = static_cast<int64_t>(11 - k);
    EXPECT_EQ(scan.top[k].token, place);
    EXPECT_EQ(scan.top[k].dim, place);
    EXPECT_EQ(scan.top[k].value, static_cast<float>(place % 2 ? 50 + place : -50 - place));
  }
}

TEST(ScanWindow, PublishedRuleNeedsBothLimits) {
  State state(12);
  state.at(0, 1) = 99.0f;   // below 100
  state.at(5, 2) = 500.0f;  // median is about 0.67: below 1,000 times that
  EXPECT_EQ(state.scan().published_flags, 0);
  state.at(5, 2) = -900.0f;
  state.at(5, 3) = 800.0f;
  EXPECT_EQ(state.scan().published_flags, 2);
  for (float& value : state.values) value *= 0.01f;
  EXPECT_EQ(state.scan().published_flags, 0);
}

TEST(ScanWindow, PublishedRuleCountsEveryEntryBeyondTheKeptOnes) {
  State state(12);
  for (int64_t dim = 0; dim < 20; ++dim) state.at(4, dim) = 5000.0f;
  EXPECT_EQ(state.scan().published_flags, 20);
}

TEST(ScanWindow, NoSpikesInNoise) {
  for (unsigned seed = 0; seed < 200; ++seed) EXPECT_THAT(State(5 + seed % 60, seed).scan().spikes, IsEmpty()) << seed;
}

TEST(ScanWindow, ALongTokenWithoutMassiveEntriesIsNone) {
  State state(12);
  for (int64_t dim = 0; dim < kDims; ++dim) state.at(2, dim) *= 3.0f;
  EXPECT_THAT(state.scan().spikes, IsEmpty());
}

TEST(ScanWindow, ADimensionLargeInAllTokensIsNone) {
  State state(12);
  for (int64_t token = 0; token < 12; ++token) state.at(token, 7) = 3000.0f + static_cast<float>(token);
  EXPECT_THAT(state.scan().spikes, IsEmpty());
  // Not even in a token that is a spike by another dimension, larger or smaller.
  for (float spike : {5000.0f, -2900.0f}) {
    state.at(6, 40) = spike;
    state.at(6, 7) = 3000.0f;
    state.at(6, 41) = spike < 0 ? 2800.0f : 0.0f;
    const WindowScan scan = state.scan();
    ASSERT_THAT(scan.spikes, SizeIs(1)) << spike;
    EXPECT_EQ(scan.spikes[0].token, 6);
    EXPECT_EQ(scan.spikes[0].dims[0].dim, 40);
    for (const SpikeDim& dim : scan.spikes[0].dims) EXPECT_NE(dim.dim, 7);
  }
}

TEST(ScanWindow, TinyWindows) {
  State one(1);
  one.at(0, 3) = 4000.0f;
  EXPECT_THAT(one.scan().spikes, IsEmpty());  // nothing to compare with
  EXPECT_EQ(one.scan().published_flags, 1);
  EXPECT_EQ(one.scan().p_value, 1.0);
  State two(2);
  two.at(0, 3) = 4000.0f;
  EXPECT_THAT(two.scan().spikes, IsEmpty());  // nothing says how far apart ordinary norms are
  State five(5);
  EXPECT_THAT(five.scan().spikes, IsEmpty());
  five.at(0, 3) = 4000.0f;
  ASSERT_THAT(five.scan().spikes, SizeIs(1));
  EXPECT_EQ(five.scan().spikes[0].token, 0);
  EXPECT_LE(five.scan().p_value, kFalsePositiveRate);
}

TEST(ScanWindow, ZerosAreNoSpikes) {
  State state(12);
  std::fill(state.values.begin(), state.values.end(), 0.0f);
  const WindowScan scan = state.scan();
  EXPECT_THAT(scan.spikes, IsEmpty());
  EXPECT_EQ(scan.median, 0.0f);
  EXPECT_EQ(scan.published_flags, 0);
}

TEST(LargerMagnitude, OrdersByMagnitudeThenPlace) {
  const LargerMagnitude before;
  EXPECT_TRUE(before({0, 0, 0, -3.0f}, {0, 0, 0, 2.0f}));
  EXPECT_FALSE(before({0, 0, 0, 2.0f}, {0, 0, 0, -3.0f}));
  EXPECT_TRUE(before({0, 1, 5, 2.0f}, {0, 2, 0, -2.0f}));
  EXPECT_FALSE(before({0, 1, 5, 2.0f}, {0, 1, 5, 2.0f}));
}

}  // namespace
}  // namespace spikescope
