#include "quant/spike_course.h"

#include <gmock/gmock.h>

#include <cmath>

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kLayers = 6, kTokens = 40;

/// Ordinary tokens with down_in of 1 to 2 and no massive values.
PassPeaks ordinary() {
  PassPeaks peaks{{kLayers, std::vector<float>(kTokens)},
                  {kLayers, std::vector<Peak>(kTokens, {0.5f, 2})},
                  {kLayers, std::vector<Peak>(kTokens, {3.0f, 2})}};
  for (auto& layer : peaks.down)
    for (size_t token = 0; token < kTokens; ++token) layer[token] = 1.0f + static_cast<float>(token) / kTokens;
  return peaks;
}

/// Token `token` has a spike of `height` in dimension 7 from block `birth` on; in `cancels` all but `left` goes.
void plant(PassPeaks& peaks, size_t token, size_t birth, float height, size_t cancels = kLayers, float left = 0.0f) {
  peaks.down[birth][token] = 500.0f;
  peaks.update[birth][token] = {height, 7};
  for (size_t layer = birth; layer < std::min(cancels, kLayers); ++layer) peaks.state[layer][token] = {height, 7};
  if (cancels >= kLayers) return;
  peaks.down[cancels][token] = 300.0f;
  peaks.update[cancels][token] = {-(1.0f - left) * height, 7};
  for (size_t layer = cancels; layer < kLayers; ++layer)
    peaks.state[layer][token] = left > 0.0f ? Peak{left * height, 7} : Peak{3.0f, 2};
}

TEST(SpikeCourses, FollowsSpikesFromBirthToTheirEnd) {
  PassPeaks peaks = ordinary();
  plant(peaks, 0, 1, 1000.0f, 4);
  plant(peaks, 20, 1, 900.0f, 4);
  const SpikeCourses found = find_spike_courses(peaks);
  ASSERT_EQ(found.courses.size(), 1u);
  const SpikeCourse& course = found.courses[0];
  EXPECT_EQ(course.birth, 1);
  EXPECT_THAT(course.tokens, ElementsAre(0, 20));
  EXPECT_THAT(course.dims, ElementsAre(7));
  EXPECT_THAT(course.cancelling, ElementsAre(4));
  EXPECT_EQ(course.last, 4);
  EXPECT_FALSE(course.reaches_end);
  EXPECT_DOUBLE_EQ(course.height, 950.0);
  EXPECT_DOUBLE_EQ(course.threshold, 64.0 * found.blocks[1].median);
  // Where a spike is cancelled none is born, though down_in is as large there.
  EXPECT_FALSE(found.blocks[4].born);
  EXPECT_EQ(found.blocks[4].above, 0);
}

TEST(SpikeCourses, NegativeSpikesAndThoseThatReachTheEnd) {
  PassPeaks peaks = ordinary();
  plant(peaks, 3, 2, -1000.0f, 4, 0.5f);
  const SpikeCourse course = find_spike_courses(peaks).courses.at(0);
  EXPECT_DOUBLE_EQ(course.height, 1000.0);
  EXPECT_THAT(course.cancelling, ElementsAre(4));
  EXPECT_TRUE(course.reaches_end);
  EXPECT_EQ(course.last, 5);
}

TEST(SpikeCourses, ASecondCourseAfterTheFirst) {
  PassPeaks peaks = ordinary();
  plant(peaks, 0, 0, 100.0f, 2);
  plant(peaks, 0, 3, 5000.0f);
  plant(peaks, 9, 3, 5000.0f);
  const SpikeCourses found = find_spike_courses(peaks);
  ASSERT_EQ(found.courses.size(), 2u);
  EXPECT_EQ(found.courses[0].last, 2);
  EXPECT_THAT(found.courses[1].tokens, ElementsAre(0, 9));
  EXPECT_TRUE(found.courses[1].reaches_end);
}

TEST(SpikeCourses, NoBirthWithoutAGap) {
  PassPeaks peaks = ordinary();
  plant(peaks, 0, 1, 1000.0f);
  peaks.down[1][5] = 90.0f;
  peaks.down[1][6] = 110.0f;  // above the threshold of 96, and one just below it
  const SpikeCourses found = find_spike_courses(peaks);
  EXPECT_THAT(found.courses, IsEmpty());
  EXPECT_EQ(found.blocks[1].above, 2);
  EXPECT_FLOAT_EQ(static_cast<float>(found.blocks[1].least_above), 110.0f);
  EXPECT_FLOAT_EQ(static_cast<float>(found.blocks[1].largest_below), 90.0f);
}

TEST(SpikeCourses, NoBirthWhereTheMlpDoesNotWriteTheLargestValue) {
  PassPeaks peaks = ordinary();
  plant(peaks, 0, 1, 1000.0f);
  peaks.update[1][0].dim = 8;
  EXPECT_THAT(find_spike_courses(peaks).courses, IsEmpty());
}

TEST(SpikeCourses, NoBirthOfTooManyTokensOrBelowTheFactor) {
  PassPeaks peaks = ordinary();
  for (size_t token = 0; token < kTokens / 5; ++token) plant(peaks, token, 1, 1000.0f);
  EXPECT_THAT(find_spike_courses(peaks).courses, IsEmpty());
  PassPeaks one = ordinary();
  plant(one, 0, 1, 1000.0f);
  EXPECT_EQ(find_spike_courses(one, 64.0).courses.size(), 1u);
  EXPECT_THAT(find_spike_courses(one, 1000.0).courses, IsEmpty());
}

TEST(SpikeCourses, BlocksOfExpertsHaveNoEvidence) {
  PassPeaks peaks = ordinary();
  for (auto& layer : peaks.down) layer.clear();
  const SpikeCourses found = find_spike_courses(peaks);
  EXPECT_THAT(found.courses, IsEmpty());
  EXPECT_TRUE(std::isnan(found.blocks[0].median));
}

}  // namespace
}  // namespace spikescope
