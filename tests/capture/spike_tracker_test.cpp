#include "capture/spike_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace spikescope {
namespace {

using ::testing::ElementsAre;

/// Rows of ones with some rows scaled up.
std::vector<float> states(int64_t rows, std::initializer_list<std::pair<int64_t, float>> large) {
  std::vector<float> values(static_cast<size_t>(rows * 4), 1.0f);
  for (const auto& [row, factor] : large)
    for (int64_t i = 0; i < 4; ++i) values[static_cast<size_t>(row * 4 + i)] = factor;
  return values;
}

TEST(SpikeTracker, KeepsFirstTokensAndEverySpikeSeenSoFar) {
  const std::vector<int64_t> offsets = {0, 20, 50};
  SpikeTracker tracker(offsets);
  EXPECT_THAT(tracker.tokens(), ElementsAre(TokenPosition(0, 0), TokenPosition(1, 0)));
  std::vector<float> all = states(50, {{27, 300.0f}});
  tracker.look({all.data(), {50, 4}, 4}, 0);
  EXPECT_THAT(tracker.tokens(), ElementsAre(TokenPosition(0, 0), TokenPosition(1, 0), TokenPosition(1, 7)));
  // A later state shows the first prompt alone, with another spike; the old one is not forgotten.
  std::vector<float> first = states(20, {{3, 50.0f}});
  tracker.look({first.data(), {20, 4}, 4}, 0);
  std::vector<float> second = states(30, {});
  tracker.look({second.data(), {30, 4}, 4}, 20);
  EXPECT_THAT(tracker.tokens(),
              ElementsAre(TokenPosition(0, 0), TokenPosition(0, 3), TokenPosition(1, 0), TokenPosition(1, 7)));
}

TEST(SpikeTracker, KeepsTheLargestWhereThereAreTooMany) {
  const std::vector<int64_t> offsets = {0, 1000};
  SpikeTracker tracker(offsets);
  std::vector<float> values = states(1000, {});
  for (int64_t spike = 0; spike < 60; ++spike)
    for (int64_t i = 0; i < 4; ++i)
      values[static_cast<size_t>((100 + spike) * 4 + i)] = 1000.0f + static_cast<float>(spike);
  tracker.look({values.data(), {1000, 4}, 4}, 0);
  const std::vector<TokenPosition> tokens = tracker.tokens();
  EXPECT_EQ(tokens.size(), SpikeTracker::kMost);
  EXPECT_EQ(tokens.front(), TokenPosition(0, 0));
  EXPECT_EQ(tokens.back(), TokenPosition(0, 159)) << "the largest norm is the last of them";
}

}  // namespace
}  // namespace spikescope
