#include "analyses/spikes/tracks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

/// States without spikes, to be filled in.
std::vector<LayerScan> states(size_t count, size_t prompts) {
  std::vector<LayerScan> layers(count);
  for (LayerScan& layer : layers) {
    layer.spikes.resize(prompts);
    layer.window_median.assign(prompts, 2.0f);
  }
  return layers;
}

void add(LayerScan& layer, size_t prompt, int64_t token, std::vector<SpikeDim> dims) {
  layer.spikes[prompt].push_back({token, 10.0, std::move(dims)});
}

TEST(SpikeRuns, BirthDeathAndPeak) {
  auto layers = states(6, 1);
  add(layers[1], 0, 4, {{7, 100.0f}});
  add(layers[2], 0, 4, {{7, -300.0f}, {9, 200.0f}});
  add(layers[3], 0, 4, {{7, 250.0f}});
  add(layers[5], 0, 4, {{9, 50.0f}});
  const auto runs = spike_runs(layers);
  ASSERT_THAT(runs, SizeIs(2));
  EXPECT_EQ(runs[0].token, 4);
  EXPECT_EQ(runs[0].birth, 1);
  EXPECT_EQ(runs[0].death, 4);
  EXPECT_EQ(runs[0].peak, 2);
  EXPECT_EQ(runs[0].value, -300.0);
  EXPECT_EQ(runs[0].ratio, 150.0);
  EXPECT_THAT(runs[0].dims, ElementsAre(7, 9));
  EXPECT_EQ(runs[1].birth, 5);
  EXPECT_EQ(runs[1].death, -1);
}

TEST(SpikeRuns, GoByPromptAndToken) {
  auto layers = states(2, 2);
  add(layers[0], 1, 0, {{7, 100.0f}});
  add(layers[1], 0, 3, {{7, 100.0f}});
  const auto runs = spike_runs(layers);
  ASSERT_THAT(runs, SizeIs(2));
  EXPECT_EQ(runs[0].prompt, 0);
  EXPECT_EQ(runs[0].death, -1);
  EXPECT_EQ(runs[1].prompt, 1);
  EXPECT_EQ(runs[1].death, 1);
}

/// One token at dimension 5, with the given values (0: no spike).
std::vector<LayerScan> series(const std::vector<float>& values) {
  auto layers = states(values.size(), 1);
  for (size_t l = 0; l < values.size(); ++l) {
    if (values[l] != 0.0f) add(layers[l], 0, 0, {{5, values[l]}});
  }
  return layers;
}

TEST(Plateaus, LeaveOutTheWayUpAndTheWayDown) {
  // The shape of SmolLM2.
  const auto plateaus = find_plateaus(series({0, 0, 206, 713, 710, 683, 570, 0, 0, 23147, 23125, 22764, 8442, 2921}));
  ASSERT_THAT(plateaus, SizeIs(2));
  EXPECT_EQ(plateaus[0].first, 3);
  EXPECT_EQ(plateaus[0].last, 6);
  EXPECT_THAT(plateaus[0].values, ElementsAre(683.0));
  EXPECT_THAT(plateaus[0].dims, ElementsAre(5));
  EXPECT_THAT(plateaus[0].tokens, ElementsAre(Pair(0, 0)));
  EXPECT_EQ(plateaus[0].windows, 1);
  EXPECT_EQ(plateaus[1].first, 9);
  EXPECT_EQ(plateaus[1].last, 11);
}

TEST(Plateaus, AJumpDividesTwoOfThem) {
  const auto plateaus = find_plateaus(series({100, 100, 1000, 1000}));
  ASSERT_THAT(plateaus, SizeIs(2));
  EXPECT_EQ(plateaus[0].last, 1);
  EXPECT_EQ(plateaus[1].first, 2);
}

TEST(Plateaus, AChangeOfSignOrDimensionDividesThem) {
  const auto signs = find_plateaus(series({100, 100, -100, -100}));
  ASSERT_THAT(signs, SizeIs(2));
  EXPECT_THAT(signs[0].values, ElementsAre(100.0));
  EXPECT_THAT(signs[1].values, ElementsAre(-100.0));
  auto layers = series({100, 100, 0, 0});
  add(layers[2], 0, 0, {{6, 100.0f}});
  add(layers[3], 0, 0, {{6, 100.0f}});
  const auto dims = find_plateaus(layers);
  ASSERT_THAT(dims, SizeIs(2));
  EXPECT_THAT(dims[0].dims, ElementsAre(5));
  EXPECT_THAT(dims[1].dims, ElementsAre(6));
}

TEST(Plateaus, TwoDimensionsMayTakeTurnsInBeingLargest) {
  auto layers = states(3, 1);
  add(layers[0], 0, 0, {{5, 110.0f}, {6, -100.0f}});
  add(layers[1], 0, 0, {{6, -110.0f}, {5, 105.0f}});
  add(layers[2], 0, 0, {{5, 110.0f}, {6, -100.0f}});
  const auto plateaus = find_plateaus(layers);
  ASSERT_THAT(plateaus, SizeIs(1));
  EXPECT_EQ(plateaus[0].last, 2);
  EXPECT_THAT(plateaus[0].dims, ElementsAre(5, 6));
  EXPECT_THAT(plateaus[0].values, ElementsAre(110.0, -100.0));
}

TEST(Plateaus, SlowGrowthIsOnePlateau) {
  const auto plateaus = find_plateaus(series({100, 130, 169, 220, 286, 371}));
  ASSERT_THAT(plateaus, SizeIs(1));
  EXPECT_EQ(plateaus[0].first, 0);
  EXPECT_EQ(plateaus[0].last, 5);
}

TEST(Plateaus, HalfOfTheSpikesHaveToStay) {
  // Token 0 stays; two tokens inside the text end after r_1: more than half of what there is.
  auto layers = series({100, 100, 100, 100});
  for (int64_t token : {4, 9}) {
    add(layers[0], 0, token, {{5, 100.0f}});
    add(layers[1], 0, token, {{5, 100.0f}});
  }
  const auto plateaus = find_plateaus(layers);
  ASSERT_THAT(plateaus, SizeIs(2));
  EXPECT_THAT(plateaus[0].tokens, ElementsAre(Pair(0, 0), Pair(0, 4), Pair(0, 9)));
  EXPECT_EQ(plateaus[0].last, 1);
  EXPECT_THAT(plateaus[1].tokens, ElementsAre(Pair(0, 0)));
}

TEST(Plateaus, MembersAreThereInHalfOfTheStates) {
  auto layers = series({100, 100, 100, 100, 100});
  add(layers[2], 0, 8, {{9, 60.0f}});
  const auto plateaus = find_plateaus(layers);
  ASSERT_THAT(plateaus, SizeIs(1));
  EXPECT_THAT(plateaus[0].tokens, ElementsAre(Pair(0, 0)));
  EXPECT_THAT(plateaus[0].dims, ElementsAre(5));
}

TEST(Plateaus, ASingleStateCountsOnlyAloneAndInHalfOfTheWindows) {
  EXPECT_THAT(find_plateaus(series({0, 0, 900, 0})), SizeIs(1));
  EXPECT_THAT(find_plateaus(series({0, 0, 900})), SizeIs(1));
  auto layers = states(4, 3);
  add(layers[2], 1, 0, {{5, 900.0f}});
  EXPECT_THAT(find_plateaus(layers), IsEmpty());
  add(layers[2], 2, 0, {{5, 900.0f}});
  ASSERT_THAT(find_plateaus(layers), SizeIs(1));
  EXPECT_EQ(find_plateaus(layers)[0].windows, 2);
}

TEST(Plateaus, NoneWithoutSpikes) {
  EXPECT_THAT(find_plateaus(states(5, 2)), IsEmpty());
  EXPECT_THAT(spike_runs(states(5, 2)), IsEmpty());
}

}  // namespace
}  // namespace spikescope
