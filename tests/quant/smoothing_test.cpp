// Ranges of single channels, and what is made of them: SmoothQuant's scales, LLM.int8's outliers.

#include "quant/smoothing.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../fixtures.h"
#include "../tiny_model.h"
#include "base/parallel.h"
#include "families/checkpoint.h"
#include "model/gemm.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Smoothing, ScalesAreTheirFormula) {
  const ChannelRange values{{-16.0f, 0.0f, -1.0f}, {4.0f, 9.0f, 0.5f}};  // max|X| 16, 9, 1
  const std::vector<float> weights = {4.0f, 1.0f, 0.25f};
  EXPECT_THAT(smoothing_scales(values, weights, 0.5), ElementsAre(FloatEq(2.0f), FloatEq(3.0f), FloatEq(2.0f)));
  EXPECT_THAT(smoothing_scales(values, weights, 1.0), ElementsAre(FloatEq(16.0f), FloatEq(9.0f), FloatEq(1.0f)));
  EXPECT_THAT(smoothing_scales(values, weights, 0.0), ElementsAre(FloatEq(0.25f), FloatEq(1.0f), FloatEq(4.0f)));
  // 16^0.75 / 4^0.25 = 8 / sqrt(2).
  EXPECT_FLOAT_EQ(smoothing_scales(values, weights, 0.75)[0], 8.0f / std::sqrt(2.0f));
}

TEST(Smoothing, ChannelsOfZerosHaveFiniteScales) {
  const ChannelRange values{{0.0f, 0.0f}, {100.0f, 0.0f}};
  const std::vector<float> weights = {0.0f, 2.0f};
  // 0 counts as 1e-5 of the largest: 1e-3 of values, 2e-5 of weights.
  const std::vector<float> scales = smoothing_scales(values, weights, 0.5);
  EXPECT_NEAR(scales[0], std::sqrt(100.0 / 2e-5), 1e-2);
  EXPECT_NEAR(scales[1], std::sqrt(1e-3 / 2.0), 1e-7);
  EXPECT_THAT(smoothing_scales({{0.0f, 0.0f}, {0.0f, 0.0f}}, std::vector<float>(2), 0.3), ElementsAre(1.0f, 1.0f));
}

TEST(Smoothing, RefusesWhatCannotBe) {
  const ChannelRange values{{0.0f}, {1.0f}};
  EXPECT_THAT(error_of([&] { smoothing_scales(values, std::vector{1.0f, 1.0f}, 0.5); }), HasSubstr("weights of 2"));
  for (const double alpha : {-0.1, 1.1, std::nan("")})
    EXPECT_THAT(error_of([&] { smoothing_scales(values, std::vector{1.0f}, alpha); }), HasSubstr("0 to 1"));
}

TEST(Smoothing, TheJointRangeIsThatOfTheDividedValues) {
  const ChannelRange channels{{-16.0f, 0.0f, -1.0f}, {4.0f, 9.0f, 0.5f}};
  const JointRange plain = joint_range(channels, {});
  EXPECT_EQ(plain.low, -16.0);
  EXPECT_EQ(plain.high, 9.0);
  EXPECT_EQ(plain.absmax(), 16.0);
  const std::vector<float> scales = {8.0f, 2.0f, 0.25f};
  const JointRange divided = joint_range(channels, scales);
  EXPECT_EQ(divided.low, -4.0);
  EXPECT_EQ(divided.high, 4.5);
  EXPECT_EQ(divided.absmax(), 4.5);
}

TEST(Smoothing, OutliersAreAboveTheThreshold) {
  const ChannelRange channels{{-16.0f, 0.0f, -6.0f, -6.5f}, {4.0f, 9.0f, 6.0f, 0.0f}};
  EXPECT_THAT(outlier_channels(channels, 6.0), ElementsAre(0, 1, 3));
  EXPECT_THAT(outlier_channels(channels, 16.0), IsEmpty());
}

TEST(Smoothing, DividesAndMultipliesByChannel) {
  // Three rows at a distance of 5, four channels; the fifth value is somebody else's.
  std::vector<float> values(15);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  const std::vector<float> before = values, scales = {1.0f, 2.0f, 4.0f, 0.5f};
  const TensorView rows{values.data(), {3, 4}, 5};
  divide_channels(rows, scales);
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], i % 5 == 4 ? before[i] : before[i] / scales[i % 5]) << i;
  multiply_channels(rows, scales);
  EXPECT_EQ(values, before);
}

TEST(ChannelStatistics, TakesEndsOfOrdinaryTokensAndOfAll) {
  // Tokens 10 .. 13 of a pass, of which 12 is a spike token.
  std::vector<float> values = {1.0f,  -2.0f,  3.0f,  //
                               -4.0f, -5.0f,  0.5f,  //
                               90.0f, -70.0f, 2.0f,  //
                               0.25f, -1.0f,  8.0f};
  std::vector<uint8_t> spikes(14);
  spikes[12] = 1;
  ChannelStatistics statistics(threads());
  const HookPoint point{Point::ln1_out, 0};
  statistics.add({point, 10, {values.data(), {2, 3}, 3}}, spikes);
  statistics.add({point, 12, {values.data() + 6, {2, 3}, 3}}, spikes);
  const auto [ordinary, all] = statistics.take();
  EXPECT_THAT(ordinary.lowest, ElementsAre(-4.0f, -5.0f, 0.0f)) << "never above 0";
  EXPECT_THAT(ordinary.highest, ElementsAre(1.0f, 0.0f, 8.0f)) << "never below 0";
  EXPECT_THAT(all.lowest, ElementsAre(-4.0f, -70.0f, 0.0f));
  EXPECT_THAT(all.highest, ElementsAre(90.0f, 0.0f, 8.0f));
  EXPECT_EQ(all.absmax(1), 70.0f);
  EXPECT_THAT(statistics.take().second.highest, IsEmpty()) << "begun anew";
}

TEST(ReadingMaxima, AreOfAllMatricesThatReadTheSite) {
  testing::TemporaryFolder folder;
  testing::write_tiny_model(folder / "tiny");
  const auto checkpoint = Checkpoint::open(folder / "tiny");
  const ModelWeights& weights = checkpoint->weights();
  const auto expected = [&](std::initializer_list<Role> roles, int layer) {
    std::vector<float> maxima;
    for (const Role role : roles) {
      const Weight weight = weights.read(role, layer);
      maxima.resize(static_cast<size_t>(weight.columns));
      for (size_t i = 0; i < weight.values.size(); ++i) {
        float& most = maxima[i % maxima.size()];
        most = std::max(most, std::abs(weight.values[i]));
      }
    }
    return maxima;
  };
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(reading_maxima(weights, Site::attn_in, layer), expected({Role::w_q, Role::w_k, Role::w_v}, layer));
    EXPECT_EQ(reading_maxima(weights, Site::o_in, layer), expected({Role::w_o}, layer));
    EXPECT_EQ(reading_maxima(weights, Site::mlp_in, layer), expected({Role::w_gate, Role::w_up}, layer));
    EXPECT_EQ(reading_maxima(weights, Site::down_in, layer), expected({Role::w_down}, layer));
  }
  EXPECT_EQ(site_width(weights.architecture(), Site::down_in), 24);
  EXPECT_EQ(site_width(weights.architecture(), Site::o_in), 16);
}

}  // namespace
}  // namespace spikescope
