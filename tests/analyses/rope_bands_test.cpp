// RoPE bands: the split by pairs against rotating queries and keys, and measures against loops over all distances.
#include <gmock/gmock.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include "analyses/rope_bands/bands.h"
#include "analysis_fixture.h"
#include "figure/figure.h"
#include "model/rope.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Planted;
using ::testing::SizeIs;
using Vector = std::vector<double>;

constexpr int64_t kHeadDim = 16, kDmax = 40;

double product(const Vector& a, const Vector& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

Vector random_vector(uint64_t seed, int64_t size = kHeadDim) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  Vector values(static_cast<size_t>(size));
  for (double& value : values) value = normal(engine);
  return values;
}

Rope rope_of(int64_t first, int64_t dims, bool interleaved) {
  Rope rope;
  rope.first = first;
  rope.dims = dims;
  rope.interleaved = interleaved;
  rope.frequencies = rope_frequencies(10000.0, dims);
  return rope;
}

Turning turning_of(const Rope& rope, int64_t dmax = kDmax) { return {rope, rope.frequencies, dmax}; }

/// The head at a position, as the pass turns it.
Vector turned(const Rope& rope, const Vector& x, int64_t position) {
  std::vector<float> values(x.begin(), x.end());
  RopeTable(rope, 2 * kDmax).rotate(values.data(), 1, kHeadDim, 1, kHeadDim, position);
  return Vector(values.begin(), values.end());
}

TEST(RopeBands, LogitsAreThoseOfTurnedQueriesAndKeys) {
  std::vector<Rope> ropes;
  for (const bool interleaved : {false, true})
    for (const auto& [first, dims] : {std::pair<int64_t, int64_t>(0, 16), {0, 4}, {10, 6}})
      ropes.push_back(rope_of(first, dims, interleaved));
  ropes.push_back(ropes[0]);
  scale_linear(ropes.back(), 4.0);
  ropes.push_back(ropes[0]);
  scale_llama3(ropes.back(), 8.0, 1.0, 4.0, 64.0);
  ropes.push_back(ropes[1]);
  scale_yarn(ropes.back(), {4.0, 64.0});
  for (const int64_t context : {kDmax, 4 * kDmax}) {  // shorter and longer than the pass
    ropes.push_back(ropes[0]);
    scale_longrope(ropes.back(), Vector(8, 1.5), Vector(8, 6.0), 4.0, context, 0.0);
  }
  const Vector q = random_vector(1), k = random_vector(2);
  for (const Rope& rope : ropes) {
    SCOPED_TRACE(rope.scaling + " " + std::to_string(rope.first) + " " + std::to_string(rope.dims));
    const Turning turning(rope, rope_frequencies(rope, 2 * kDmax), kDmax);
    const KeyBands bands = measure_bands(turning, q, k);
    const double still = turning.still(q, k);
    ASSERT_THAT(bands.logit, SizeIs(kDmax + 1));
    for (const int64_t distance : {int64_t{0}, int64_t{1}, int64_t{7}, kDmax}) {
      for (const int64_t key : {0, 5, 39})
        EXPECT_NEAR(bands.logit[static_cast<size_t>(distance)],
                    product(turned(rope, q, key + distance), turned(rope, k, key)), 1e-4);
      double sum = still;
      for (int64_t i = 0; i < turning.pairs(); ++i)
        sum += bands.amplitude[static_cast<size_t>(i)] *
               std::cos(bands.phase[static_cast<size_t>(i)] +
                        turning.frequencies()[static_cast<size_t>(i)] * static_cast<double>(distance));
      EXPECT_NEAR(bands.logit[static_cast<size_t>(distance)], sum, 1e-12);
    }
    EXPECT_NEAR(bands.logit_unturned, product(q, k), 1e-12);
    const Vector energies = turning.energies(k);
    EXPECT_NEAR(
        std::accumulate(energies.begin(), energies.end(), 0.0),
        std::inner_product(k.begin() + rope.first, k.begin() + rope.first + rope.dims, k.begin() + rope.first, 0.0),
        1e-12);
  }
}

TEST(RopeBands, MeasuresAreTheirDefinitions) {
  const Turning turning = turning_of(rope_of(0, 16, false));
  int in_zone = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const KeyBands bands = measure_bands(turning, random_vector(2 * seed), random_vector(2 * seed + 1));
    double all = 0.0, stable = 0.0, unstable = 0.0, zone = 0.0, coherent = 0.0, incoherent = 0.0;
    Moments zone_logit, logit;
    for (size_t i = 0; i < 8; ++i) {
      const double theta = turning.frequencies()[i], a = bands.amplitude[i], cosine = std::cos(bands.phase[i]);
      bool always = true;
      for (int64_t d = 0; d <= kDmax; ++d)
        always &= std::cos(bands.phase[i] + theta * static_cast<double>(d)) >= std::cos(std::numbers::pi / 4);
      EXPECT_EQ(bands.zone[i], always);
      EXPECT_EQ(turning.stable(static_cast<int64_t>(i)), theta * kDmax <= std::numbers::pi / 4);
      in_zone += always;
      all += a;
      if (always) zone += a;
      (theta * kDmax <= std::numbers::pi / 4 ? stable : unstable) += a;
      (theta * kDmax <= std::numbers::pi / 4 ? coherent : incoherent) += a * cosine;
    }
    for (int64_t d = 0; d <= kDmax; ++d) {
      double part = 0.0;
      for (size_t i = 0; i < 8; ++i)
        if (bands.zone[i])
          part += bands.amplitude[i] * std::cos(bands.phase[i] + turning.frequencies()[i] * static_cast<double>(d));
      zone_logit.add(part);
      logit.add(bands.logit[static_cast<size_t>(d)]);
    }
    EXPECT_NEAR(bands.coherence_stable, coherent / stable, 1e-12);
    EXPECT_NEAR(bands.coherence_unstable, incoherent / unstable, 1e-12);
    EXPECT_NEAR(bands.zone_share, zone / all, 1e-12);
    EXPECT_NEAR(bands.logit_mean, logit.mean(), 1e-12);
    EXPECT_NEAR(bands.sigma, std::sqrt(logit.variance() * kDmax / (kDmax + 1)), 1e-12);
    EXPECT_NEAR(bands.zone_logit_share, zone_logit.mean() / logit.mean(),
                1e-9 * std::max(1.0, std::abs(bands.zone_logit_share)));
  }
  EXPECT_GT(in_zone, 10);
}

TEST(RopeBands, WithoutTurningThereIsNoSpread) {
  Rope rope = rope_of(0, 16, false);
  rope.frequencies.assign(8, 0.0);
  const Vector q = random_vector(1), k = random_vector(2);
  const KeyBands bands = measure_bands(turning_of(rope), q, k);
  EXPECT_NEAR(bands.sigma, 0.0, 1e-12);
  EXPECT_NEAR(bands.logit_mean, bands.logit_unturned, 1e-12);
  EXPECT_EQ(measure_bands(turning_of(rope_of(0, 16, false), 0), q, k).sigma, 0.0) << "a window of one token";
}

TEST(RopeBands, LayoutsDifferByAPermutation) {
  const Vector q = random_vector(1), k = random_vector(2);
  const auto interleave = [](const Vector& x) {
    Vector out(x.size());
    for (size_t i = 0; i < x.size() / 2; ++i) {
      out[2 * i] = x[i];
      out[2 * i + 1] = x[i + x.size() / 2];
    }
    return out;
  };
  const KeyBands halves = measure_bands(turning_of(rope_of(0, 16, false)), q, k),
                 pairs = measure_bands(turning_of(rope_of(0, 16, true)), interleave(q), interleave(k));
  EXPECT_EQ(halves.amplitude, pairs.amplitude);
  EXPECT_EQ(halves.phase, pairs.phase);
  EXPECT_EQ(halves.zone, pairs.zone);
  EXPECT_NEAR(halves.sigma, pairs.sigma, 1e-12);
  EXPECT_NEAR(halves.zone_share, pairs.zone_share, 1e-12);
}

TEST(RopeBands, PairsOfZeroAreUndefinedAlone) {
  const Turning turning = turning_of(rope_of(0, 16, true));
  const Vector k = random_vector(2);
  Vector q = random_vector(1);
  q[14] = q[15] = 0.0;
  const KeyBands bands = measure_bands(turning, q, k);
  EXPECT_EQ(bands.amplitude[7], 0.0);
  EXPECT_TRUE(std::isnan(bands.phase[7]));
  EXPECT_FALSE(bands.zone[7]);
  EXPECT_FALSE(std::isnan(bands.zone_share));
  EXPECT_FALSE(std::isnan(bands.coherence_stable));
  const KeyBands none = measure_bands(turning, Vector(kHeadDim), k);
  EXPECT_TRUE(std::isnan(none.zone_share));
  EXPECT_TRUE(std::isnan(none.coherence_stable));
  EXPECT_TRUE(std::isnan(none.zone_logit_share));
  EXPECT_EQ(none.sigma, 0.0);
}

class RopeBandsTest : public testing::AnalysisTest {
 protected:
  RopeBandsTest() {
    planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
    Rope rope;
    rope.dims = 2;
    rope.frequencies = {kTheta};
    weights.architecture().ropes = {rope};
    weights.architecture().blocks[4].rope = -1;
    weights.architecture().blocks[5].window = 12;
  }
  static constexpr double kTheta = 0.001;
  /// Mean of x W^T, rows [row, row + 2) of W, over rows of r_l after the norm.
  std::complex<double> mean_pair(Role role, int64_t layer, int64_t row, const std::vector<int64_t>& tokens) const {
    const Weight w = weights.get().read(role, static_cast<int>(layer));
    const std::vector<float> x = planted.normed(layer);
    double sum[2] = {};
    for (const int64_t token : tokens)
      for (int64_t r = 0; r < 2; ++r)
        for (int64_t i = 0; i < Planted::kDims; ++i)
          sum[r] += w.values[static_cast<size_t>((row + r) * Planted::kDims + i)] *
                    static_cast<double>(x[static_cast<size_t>(token * Planted::kDims + i)]) /
                    static_cast<double>(tokens.size());
    return {sum[0], sum[1]};
  }
};

TEST_F(RopeBandsTest, EqualsLoopsOverTokensAndDistances) {
  const Json json = run("rope_bands");
  EXPECT_EQ(json["dmax"], 512);
  const Json& layer = json["layers"][3];
  EXPECT_EQ(layer["template"], "spikes");
  EXPECT_EQ(layer["pairs"], 1);
  EXPECT_EQ(layer["stable_pairs"], 1) << "0.512 radians";
  EXPECT_EQ(layer["stable_energy_template"], 1.0);
  EXPECT_EQ(layer["still_energy_template"], 0.0);
  EXPECT_TRUE(layer["coherence_unstable"].is_null());
  std::vector<int64_t> ordinary;
  for (const int64_t first : {0, 20})
    for (int64_t t = 8; t < 20; ++t) ordinary.push_back(first + t);
  const std::complex<double> k_star = mean_pair(Role::w_k, 3, 0, {0, 20, 27}),
                             k_mean = mean_pair(Role::w_k, 3, 0, ordinary);
  Moments sigma_of_heads;
  for (int64_t head = 0; head < 2; ++head) {
    const std::complex<double> q = 0.5 * mean_pair(Role::w_q, 3, 2 * head, ordinary);
    const Json& row = layer["heads"][static_cast<size_t>(head)];
    for (const auto& [key, k] : {std::pair("template", k_star), {"semantic", k_mean}}) {
      Moments logits;
      for (int d = 0; d <= 512; ++d) logits.add((q * std::conj(k) * std::polar(1.0, kTheta * d)).real());
      EXPECT_NEAR(row[std::string("logit_") + key].get<double>(), (q * std::conj(k)).real(), 1e-4);
      EXPECT_NEAR(row[std::string("logit_") + key + "_mean"].get<double>(), logits.mean(), 1e-4);
      EXPECT_NEAR(row[std::string("sigma_") + key].get<double>(), std::sqrt(logits.variance() * 512 / 513), 1e-4);
    }
    EXPECT_NEAR(row["coherence_stable"].get<double>(), std::cos(std::arg(q * std::conj(k_star))), 1e-4);
    EXPECT_NEAR(row["sigma_equal_length"].get<double>(),
                row["sigma_template"].get<double>() * std::abs(k_mean) / std::abs(k_star), 1e-4);
    sigma_of_heads.add(row["sigma_template"]);
  }
  EXPECT_NEAR(layer["sigma_template"].get<double>(), sigma_of_heads.mean(), 1e-12);
  for (const char* key : {"sigma_template", "sigma_semantic", "coherence_stable"})
    EXPECT_TRUE(layer[std::string(key) + "_se"].is_number()) << key;
}

TEST_F(RopeBandsTest, WindowsAndBlocksWithoutPositions) {
  const Json json = run("rope_bands");
  EXPECT_EQ(json["layers"][5]["dmax"], 11);
  EXPECT_EQ(json["layers"][5]["window"], 12);
  const Json& without = json["layers"][4];
  for (const char* key : {"dmax", "pairs", "stable_pairs", "stable_energy_template", "zone_share", "sigma_template",
                          "sigma_semantic", "sigma_semantic_se"})
    EXPECT_TRUE(without.at(key).is_null()) << key;
  const H5File file = arrays("rope_bands");
  EXPECT_THAT(file.shape("/logit_template"), ElementsAre(6, 2, 513));
  EXPECT_THAT(file.shape("/energy_semantic"), ElementsAre(6, 1, 1));
  const std::vector<double> frequencies = file.read<double>("/frequencies");
  EXPECT_EQ(frequencies[3], kTheta);
  EXPECT_TRUE(std::isnan(frequencies[4]));
  const std::vector<float> logits = file.read<float>("/logit_template");
  EXPECT_TRUE(std::isnan(logits[4 * 2 * 513]));
  EXPECT_NEAR(logits[3 * 2 * 513], json["layers"][3]["heads"][0]["logit_template"].get<double>(), 1e-5);
  EXPECT_FALSE(std::isnan(logits[5 * 2 * 513 + 11]));
  EXPECT_TRUE(std::isnan(logits[5 * 2 * 513 + 12]));
  for (const Figure& figure : section().figures) EXPECT_NO_THROW(check_figure(figure));
}

TEST_F(RopeBandsTest, NotApplicable) {
  weights.architecture().causal = false;
  EXPECT_THAT(run("rope_bands")["why"].get<std::string>(), HasSubstr("encoder"));
  weights.architecture().ropes.clear();
  const Json json = run("rope_bands");
  EXPECT_EQ(json["applicable"], false);
  EXPECT_EQ(json["why"], "this model has no rotary positions (RoPE)");
  EXPECT_THAT(section().summary, HasSubstr("no rotary positions"));
  EXPECT_THAT(run("rope_bands", false)["why"].get<std::string>(), HasSubstr("no such file"));
}

TEST_F(RopeBandsTest, ShortContextIsTheRange) {
  weights.architecture().context_length = 128;
  EXPECT_EQ(run("rope_bands")["dmax"], 127);
}

TEST_F(RopeBandsTest, WithoutOrdinaryTokens) {
  planted.lengths = {4, 1};
  planted.spikes.clear();
  const Json json = run("rope_bands");
  EXPECT_TRUE(json["layers"][2]["sigma_template"].is_null());
  EXPECT_TRUE(json["layers"][2]["zone_pairs"].is_null());
  EXPECT_TRUE(json["layers"][2]["stable_energy_template"].is_number());
  EXPECT_EQ(json["verdict"]["verdict"], "not applicable");
  for (const Figure& figure : section().figures) EXPECT_NO_THROW(check_figure(figure));
}

TEST_F(RopeBandsTest, TheVerdictFollowsZoneAndSpread) {
  const Json json = run("rope_bands");
  const Json& layer = json["layers"][3];  // the plateau's only block with positions
  const int held = (layer["zone_share"] >= 0.5) +
                   (layer["sigma_equal_length"].get<double>() <= 0.5 * layer["sigma_semantic"].get<double>());
  EXPECT_EQ(json["verdict"]["verdict"], held == 2 ? "confirmed" : held == 1 ? "partly" : "not");
  EXPECT_THAT(json["verdict"]["why"].get<std::string>(), HasSubstr("layers 3 to 4"));
}

TEST_F(RopeBandsTest, SectionHasWholeFigures) {
  run("rope_bands");
  expect_whole_section({"rope-bands-energy", "rope-bands-logit-1", "rope-bands-zone", "rope-bands-sigma"});
}

}  // namespace
}  // namespace spikescope
