// Channels in balance, and the bases in which sites and the matrices that read them are rounded.

#include "quant/balance.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "../error_of.h"
#include "../fixtures.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "quant/quantizer.h"
#include "quant/site_basis.h"
#include "quant/value_histogram.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TensorView view_of(std::vector<float>& values, int64_t width) {
  return {values.data(), {static_cast<int64_t>(values.size()) / width, width}, width};
}

std::vector<float> gaussian(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(ChannelMoments, AreThoseOfTheTokensThatCount) {
  std::vector<float> first = {1, 10, 3, 30}, second = {5, -10, 99, 99};
  ChannelMoments moments;
  EXPECT_THAT(moments.means(), IsEmpty());
  const std::vector<uint8_t> left_out = {0, 0, 0, 1};
  moments.add({{Point::ln1_out, 0}, 0, view_of(first, 2)}, left_out);
  moments.add({{Point::ln1_out, 0}, 2, view_of(second, 2)}, left_out);
  EXPECT_EQ(moments.rows(), 3);
  EXPECT_THAT(moments.means(), ElementsAre(3.0, 10.0));
  const std::vector<double> deviations = moments.deviations();
  ASSERT_EQ(deviations.size(), 2u);
  EXPECT_NEAR(deviations[0], std::sqrt(8.0 / 3.0), 1e-12);   // of 1, 3, 5
  EXPECT_NEAR(deviations[1], std::sqrt(800.0 / 3.0), 1e-12);  // of 10, 30, -10
  moments.clear();
  EXPECT_EQ(moments.rows(), 0);
}

TEST(ChannelBalance, EvensOutDeviationsAgainstNorms) {
  // f_j^2 = n_j / s_j, times (1 + 16) / (1 x 4 + 4 x 1) so that sum f^2 s^2 stays 17.
  const ChannelBalance balance = balance_of({0.5, -2.0}, {1.0, 4.0}, {4.0, 1.0});
  EXPECT_THAT(balance.means, ElementsAre(0.5f, -2.0f));
  EXPECT_NEAR(balance.factors[0] * balance.factors[0], 4.0 * 17.0 / 8.0, 1e-5);
  EXPECT_NEAR(balance.factors[1] * balance.factors[1], 0.25 * 17.0 / 8.0, 1e-6);
  EXPECT_THAT(balance_of({1.0}, {2.0}, {}).factors, ElementsAre(1.0f));
  EXPECT_TRUE(balance_of({}, {}, {}).empty());
}

TEST(ChannelBalance, ChannelsThatHardlyVaryAreNotBlownUp) {
  // The root mean square of deviations is 1; 0 counts as 0.01.
  const ChannelBalance balance = balance_of({0.0, 0.0}, {0.0, std::sqrt(2.0)}, {1.0, 1.0});
  EXPECT_NEAR(balance.factors[0] / balance.factors[1], std::sqrt(std::sqrt(2.0) / 0.01), 1e-3);
  for (const float factor : balance_of({0.0, 0.0}, {0.0, 0.0}, {0.0, 0.0}).factors) EXPECT_EQ(factor, 1.0f);
  EXPECT_THAT(error_of([] { balance_of({0.0}, {1.0, 2.0}, {}); }), HasSubstr("1 means, 2 deviations"));
  EXPECT_THAT(error_of([] { balance_of({0.0}, {1.0}, {1.0, 2.0}); }), HasSubstr("2 norms"));
}

TEST(ChannelWeights, AreSquaresOverTheirMean) {
  // Squares 1 and 9 over their mean 5, in 1/1024.
  EXPECT_THAT(channel_weights({1.0, 3.0}), ElementsAre(205u, 1843u));
  EXPECT_THAT(channel_weights({0.0, 1.0}), ElementsAre(1u, 2048u));
  EXPECT_THAT(channel_weights({}), IsEmpty());
  EXPECT_THAT(channel_weights({0.0}), IsEmpty());
}

TEST(ReadingNorms, AreOfAllMatricesThatReadTheSite) {
  const testing::TemporaryFolder folder;
  testing::write_tiny_model(folder / "tiny");
  const auto checkpoint = Checkpoint::open(folder / "tiny");
  const ModelWeights& weights = checkpoint->weights();
  const std::vector<std::pair<Site, std::vector<Role>>> readers = {{Site::attn_in, {Role::w_q, Role::w_k, Role::w_v}},
                                                                   {Site::o_in, {Role::w_o}},
                                                                   {Site::mlp_in, {Role::w_gate, Role::w_up}},
                                                                   {Site::down_in, {Role::w_down}}};
  for (const auto& [site, roles] : readers) {
    const std::vector<double> norms = reading_norms(weights, site, 1);
    std::vector<double> squares(norms.size());
    for (const Role role : roles) {
      const Weight weight = weights.read(role, 1);
      ASSERT_EQ(static_cast<size_t>(weight.columns), norms.size());
      for (size_t i = 0; i < weight.values.size(); ++i)
        squares[i % norms.size()] += static_cast<double>(weight.values[i]) * static_cast<double>(weight.values[i]);
    }
    for (size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(norms[i] * norms[i], squares[i], 1e-9 * squares[i]);
  }
}

TEST(ReadingNorms, DoNotSpeakOfExpertsAndLatentAttention) {
  for (const char* family : {"mixtral", "deepseek_v3"}) {
    const auto checkpoint = Checkpoint::open(testing::kept_models() / family);
    EXPECT_THAT(reading_norms(checkpoint->weights(), Site::attn_in, 0), IsEmpty()) << family;
  }
}

TEST(SiteBasis, ValuesAndWeightsMeetInAnyBasis) {
  constexpr int64_t kWidth = 48;
  const Rotation rotation(RotationKind::hadamard, kWidth, 3);
  ChannelBalance balance;
  for (int64_t i = 0; i < kWidth; ++i) {
    balance.means.push_back(static_cast<float>(i % 7) - 3.0f);
    balance.factors.push_back(0.25f * static_cast<float>(1 + i % 5));
  }
  const auto product_of = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0.0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
  };
  const std::vector<float> x = gaussian(kWidth, 1), w = gaussian(kWidth, 2);
  std::vector<float> centered = x;
  for (size_t i = 0; i < centered.size(); ++i) centered[i] -= balance.means[i];
  EXPECT_FALSE(SiteBasis().changes());
  for (const bool rotated : {false, true})
    for (const bool balanced : {false, true}) {
      const SiteBasis basis(rotated ? &rotation : nullptr, balanced ? &balance : nullptr);
      EXPECT_EQ(basis.changes(), rotated || balanced);
      std::vector<float> values = x, with_means = x, weights = w;
      basis.to(view_of(values, kWidth));
      basis.to_with_means(view_of(with_means, kWidth));
      basis.weights_to(view_of(weights, kWidth));
      EXPECT_NEAR(product_of(weights, values), product_of(w, balanced ? centered : x), 1e-4);
      EXPECT_NEAR(product_of(weights, with_means), product_of(w, x), 1e-4);
      basis.from(view_of(values, kWidth));
      basis.weights_from(view_of(weights, kWidth));
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_NEAR(values[i], x[i], 2e-5);
        EXPECT_NEAR(weights[i], w[i], 2e-5);
      }
    }
  const SiteBasis basis(nullptr, &balance);
  std::vector<float> narrow(12);
  EXPECT_THAT(error_of([&] { basis.to(view_of(narrow, 12)); }), HasSubstr("rows of 12 values for a balance of 48"));
}

/// Outputs of values whose channels differ, rounded to 4 bits: the error falls as (sum s n)^2 / (sum s^2 sum n^2) says.
TEST(SiteBasis, BalanceSavesWhatItPromises) {
  constexpr int64_t kWidth = 64, kRows = 2000, kOutputs = 40;
  std::vector<float> x = gaussian(kWidth * kRows, 4), w = gaussian(kWidth * kOutputs, 5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] * std::exp2(static_cast<float>(i % 8) * 0.5f);
  for (size_t i = 0; i < w.size(); ++i) w[i] *= std::exp2(static_cast<float>((i / 8) % 8) * 0.5f);
  std::vector<double> sums(kWidth), squares(kWidth), norms(kWidth);
  for (size_t i = 0; i < x.size(); ++i) {
    sums[i % kWidth] += x[i] / kRows;
    squares[i % kWidth] += static_cast<double>(x[i]) * x[i] / kRows;
  }
  for (size_t i = 0; i < w.size(); ++i) norms[i % kWidth] += static_cast<double>(w[i]) * w[i];
  double together = 0.0, energy = 0.0, weight = 0.0;
  std::vector<double> deviations(kWidth);
  for (size_t i = 0; i < deviations.size(); ++i) {
    norms[i] = std::sqrt(norms[i]);
    deviations[i] = std::sqrt(squares[i] - sums[i] * sums[i]);
    together += deviations[i] * norms[i];
    energy += squares[i];
    weight += norms[i] * norms[i];
  }
  const ChannelBalance balance = balance_of(sums, deviations, norms);
  // Entries of one magnitude: turned channels have the same variance, and turned weights the same norm.
  const Rotation rotation(RotationKind::hadamard, kWidth, 6);
  const auto output_error_in = [&](const SiteBasis& basis) {
    std::vector<float> values = x;
    basis.to(view_of(values, kWidth));
    ValueHistogram histogram;
    histogram.add(values.data(), static_cast<int64_t>(values.size()));
    quantize_rows(view_of(values, kWidth), Quantizer::symmetric(4, ClipSearch(histogram).symmetric(4).high));
    basis.from(view_of(values, kWidth));
    double sum = 0.0;
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t out = 0; out < kOutputs; ++out) {
        double error = 0.0;
        for (int64_t i = 0; i < kWidth; ++i)
          error += static_cast<double>(w[static_cast<size_t>(out * kWidth + i)]) *
                   (static_cast<double>(values[static_cast<size_t>(row * kWidth + i)]) -
                    static_cast<double>(x[static_cast<size_t>(row * kWidth + i)]));
        sum += error * error;
      }
    return sum;
  };
  const double promised = together * together / (energy * weight);
  EXPECT_LT(promised, 0.75);
  const double saved =
      output_error_in(SiteBasis(&rotation, &balance)) / output_error_in(SiteBasis(&rotation, nullptr));
  EXPECT_NEAR(saved, promised, 0.15 * promised);
}

}  // namespace
}  // namespace spikescope
