// Convergence after the norm: its measures, the tokens it takes, and the whole on a dump with planted spikes.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "analyses/convergence/constancy.h"
#include "analysis_fixture.h"
#include "figure/figure.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Planted;
using ::testing::SizeIs;

/// `sizes[p]` random vectors of prompt p, around (3, 0, 0, ...).
TokenVectors random_vectors(const std::vector<int64_t>& sizes, int64_t d = 5) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  TokenVectors vectors;
  vectors.d = d;
  vectors.offsets = {0};
  for (const int64_t size : sizes) {
    vectors.offsets.push_back(vectors.offsets.back() + size);
    for (int64_t i = 0; i < size * d; ++i) vectors.values.push_back(normal(random) + (i % d == 0 ? 3.0f : 0.0f));
  }
  return vectors;
}

std::vector<double> doubles(std::span<const float> values) { return {values.begin(), values.end()}; }

/// The vectors without those of one prompt.
TokenVectors without(const TokenVectors& all, int64_t left_out) {
  TokenVectors vectors;
  vectors.d = all.d;
  vectors.offsets = {0};
  for (int64_t prompt = 0; prompt < all.n_prompts(); ++prompt) {
    if (prompt == left_out) continue;
    const int64_t first = all.offsets[static_cast<size_t>(prompt)], last = all.offsets[static_cast<size_t>(prompt) + 1];
    vectors.offsets.push_back(vectors.offsets.back() + last - first);
    vectors.values.insert(vectors.values.end(), all.values.begin() + first * all.d, all.values.begin() + last * all.d);
  }
  return vectors;
}

TEST(Constancy, IsTheMeanOverAllPairs) {
  const TokenVectors vectors = random_vectors({3, 1, 0, 4});
  double sum = 0.0;
  int64_t pairs = 0;
  for (int64_t i = 0; i < vectors.size(); ++i) {
    for (int64_t j = 0; j < vectors.size(); ++j) {
      if (i == j) continue;
      sum += cosine(doubles(vectors[i]), doubles(vectors[j]));
      ++pairs;
    }
  }
  const Constancy constancy = measure_constancy(vectors);
  EXPECT_EQ(constancy.count, 8);
  EXPECT_EQ(constancy.windows, 3);
  EXPECT_NEAR(constancy.cosine.value, sum / static_cast<double>(pairs), 1e-12);

  const std::vector<double> mean = vectors.mean();
  double squares = 0.0, length = 0.0;
  for (int64_t i = 0; i < vectors.size(); ++i)
    for (size_t dim = 0; dim < 5; ++dim) squares += std::pow(vectors[i][dim] - mean[dim], 2);
  for (const double value : mean) length += value * value;
  EXPECT_NEAR(constancy.deviation.value, std::sqrt(squares / 8 / length), 1e-12);
}

TEST(Constancy, ErrorsLeaveOutAWindowAtATime) {
  const TokenVectors vectors = random_vectors({3, 2, 4});
  const Constancy whole = measure_constancy(vectors);
  Moments cosines, deviations, variations;
  for (int64_t prompt = 0; prompt < 3; ++prompt) {
    const Constancy rest = measure_constancy(without(vectors, prompt));
    cosines.add(rest.cosine.value);
    deviations.add(rest.deviation.value);
    variations.add(measure_variation(without(vectors, prompt), 0).value);
  }
  const auto error = [](const Moments& moments) { return 2 * std::sqrt(moments.variance() / 3); };
  EXPECT_NEAR(whole.cosine.error, error(cosines), 1e-12);
  EXPECT_NEAR(whole.deviation.error, error(deviations), 1e-12);
  EXPECT_NEAR(measure_variation(vectors, 0).error, error(variations), 1e-12);
}

TEST(Constancy, DoesNotDependOnScaleAndKnowsItsLimits) {
  TokenVectors vectors = random_vectors({2, 2});
  const Constancy before = measure_constancy(vectors);
  for (float& value : vectors.values) value *= 1024.0f;
  EXPECT_NEAR(measure_constancy(vectors).cosine.value, before.cosine.value, 1e-12);
  EXPECT_NEAR(measure_constancy(vectors).deviation.value, before.deviation.value, 1e-12);
  const TokenVectors same{2, {3, 4, 3, 4, 3, 4}, {0, 1, 2, 3}};
  EXPECT_NEAR(measure_constancy(same).cosine.value, 1.0, 1e-12);
  EXPECT_NEAR(measure_constancy(same).deviation.value, 0.0, 1e-7);
  const TokenVectors opposite{2, {3, 4, -3, -4}, {0, 1, 2}};
  EXPECT_NEAR(measure_constancy(opposite).cosine.value, -1.0, 1e-12);
  EXPECT_TRUE(std::isnan(measure_constancy(opposite).deviation.value)) << "the mean is zero";
}

TEST(Constancy, UndefinedForFewerThanTwo) {
  for (const TokenVectors& vectors : {TokenVectors{2, {}, {0, 0, 0}}, TokenVectors{2, {1, 2}, {0, 1, 1}}}) {
    const Constancy constancy = measure_constancy(vectors);
    EXPECT_EQ(constancy.count, vectors.size());
    for (const Estimate& estimate : {constancy.cosine, constancy.deviation, measure_variation(vectors, 0)}) {
      EXPECT_TRUE(std::isnan(estimate.value));
      EXPECT_TRUE(std::isnan(estimate.error));
    }
  }
  // Vectors of zeros have no direction.
  EXPECT_NEAR(measure_constancy({2, {0, 0, 3, 4, 4, 3}, {0, 2, 3}}).cosine.value, 0.96, 1e-12);
}

TEST(Variation, ByHand) {
  const TokenVectors vectors{2, {9, 10, 9, 14, 9, 12}, {0, 1, 3}};
  EXPECT_NEAR(measure_variation(vectors, 1).value, std::sqrt(8.0 / 3) / 12, 1e-12);
  EXPECT_EQ(measure_variation(vectors, 0).value, 0.0);
}

TEST(OrdinarySample, IsSeededAndLeavesSpikesOut) {
  DumpTokens tokens;
  tokens.offsets = {0, 200, 220, 225};
  std::vector<LayerScan> states(3);
  for (LayerScan& state : states) state.spikes.resize(3);
  for (const int64_t token : {0, 9, 12}) states[1].spikes[1].push_back({token, 10.0, {{5, 100.0f}}});
  const TokensByPrompt sample = sample_ordinary(tokens, states, 3);
  EXPECT_THAT(sample[0], SizeIs(kOrdinaryTokens));
  EXPECT_TRUE(std::is_sorted(sample[0].begin(), sample[0].end()));
  EXPECT_EQ(std::adjacent_find(sample[0].begin(), sample[0].end()), sample[0].end()) << "drawn twice";
  EXPECT_GE(sample[0].front(), kFirstOrdinary);
  EXPECT_LT(sample[0].back(), 200);
  EXPECT_THAT(sample[1], ElementsAre(8, 10, 11, 13, 14, 15, 16, 17, 18, 19));
  EXPECT_THAT(sample[2], IsEmpty());
  EXPECT_EQ(sample_ordinary(tokens, states, 3), sample);
  EXPECT_NE(sample_ordinary(tokens, states, 4), sample);
}

TEST(TemplateTokens, AreTheLatestWhereMostWindowsHaveNoSpikes) {
  const std::vector<SpikeSet> few = {{{4}, {4}}, {{}, {0}}}, most = {{{4}, {4}}, {{2}, {2}}, {{}, {7}}};
  EXPECT_THAT(template_tokens(few), ElementsAre(ElementsAre(4), ElementsAre(0)));
  EXPECT_THAT(template_tokens(most), ElementsAre(ElementsAre(4), ElementsAre(2), IsEmpty()));
}

class ConvergenceTest : public testing::AnalysisTest {
 protected:
  ConvergenceTest() {
    planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
  }
};

TEST_F(ConvergenceTest, OfEachLayer) {
  const Json json = run("convergence");
  EXPECT_EQ(json["input"], "blocks.*.ln1.out");
  EXPECT_EQ(json["constant_prefix"], 0);
  ASSERT_THAT(json["layers"], SizeIs(6));
  const std::vector<int> counts = {0, 0, 3, 3, 3, 0};
  for (size_t l = 0; l < 6; ++l) {
    const Json& layer = json["layers"][l];
    EXPECT_EQ(layer["layer"], l);
    EXPECT_EQ(layer["dim"], 5);
    EXPECT_EQ(layer["spike"]["count"], counts[l]);
    EXPECT_EQ(layer["ordinary"]["count"], 24);  // t = 8 .. 19 of both
    EXPECT_LT(layer["ordinary"]["cosine"].get<double>(), 0.9);
    EXPECT_EQ(layer["latest"].is_null(), counts[l] > 0);
    EXPECT_TRUE(layer["varying"].is_null());
    EXPECT_EQ(layer["mlp"]["spike"]["count"], counts[l]);
  }
  const Json& spike = json["layers"][3]["spike"];
  EXPECT_GT(spike["cosine"].get<double>(), 0.999);  // a spike of 1,500 leaves nothing of the rest
  EXPECT_LT(spike["deviation"].get<double>(), 0.02);
  EXPECT_NEAR(spike["cv"].get<double>(), std::sqrt(2.0 / 9) * 100 / (4700.0 / 3), 1e-9);  // 1500, 1600, 1600
  EXPECT_EQ(spike["windows"], 2);
  EXPECT_TRUE(json["layers"][0]["spike"]["cosine"].is_null());
  EXPECT_EQ(json["layers"][0]["latest"]["count"], 2);  // the first tokens
  EXPECT_EQ(json["layers"][5]["latest"]["count"], 3);  // those of r_4
  EXPECT_EQ(json["layers"][3]["inside"]["count"], 1);
  EXPECT_GT(json["layers"][3]["inside_to_first"].get<double>(), 0.999);
  EXPECT_EQ(json["verdict"]["verdict"], "confirmed");
}

TEST_F(ConvergenceTest, AcrossLayers) {
  const Json json = run("convergence");
  const std::vector<float> templates = arrays("convergence").read<float>("/templates");
  ASSERT_EQ(templates.size(), 6u * Planted::kDims);
  const Json& matrix = json["across_layers"];
  ASSERT_THAT(matrix, SizeIs(6));
  for (size_t a = 0; a < 6; ++a) {
    ASSERT_THAT(matrix[a], SizeIs(6));
    for (size_t b = 0; b < 6; ++b) {
      EXPECT_EQ(matrix[a][b], matrix[b][a]);
      const bool both = a >= 2 && a <= 4 && b >= 2 && b <= 4;
      EXPECT_EQ(matrix[a][b].is_number(), both) << a << ", " << b;
      if (a == b && both) {
        EXPECT_NEAR(matrix[a][a].get<double>(), 1.0, 1e-12);
      }
    }
  }
  EXPECT_TRUE(std::isnan(templates[0]));
  EXPECT_GT(templates[3 * Planted::kDims + 5], 5.0f);  // sqrt(32), nearly
}

TEST_F(ConvergenceTest, TheSamePrefixIsConstantByConstruction) {
  planted.id = [](int64_t prompt, int64_t token) { return token == 0 ? 1 : 100 * prompt + token; };
  Json json = run("convergence");
  EXPECT_EQ(json["constant_prefix"], 1);
  EXPECT_EQ(json["layers"][3]["constant"], 2);
  EXPECT_EQ(json["layers"][3]["varying"]["count"], 1);
  EXPECT_EQ(json["verdict"]["verdict"], "not applicable");
  EXPECT_THAT(json["verdict"]["why"].get<std::string>(), HasSubstr("constant by construction"));
  EXPECT_THAT(section().summary, HasSubstr("All inputs begin with the same token"));
  // Where a token sees those behind it, the same beginning does not make it constant.
  planted.config["causal"] = false;
  json = run("convergence");
  EXPECT_EQ(json["constant_prefix"], 0);
  EXPECT_EQ(json["verdict"]["verdict"], "confirmed");
}

TEST_F(ConvergenceTest, VectorsThatDifferAreNotOne) {
  // The spikes' dimensions differ between the windows.
  for (Planted::Spike& spike : planted.spikes)
    if (spike.prompt == 1 && spike.dim == 5) spike.dim = 6;
  std::erase_if(planted.spikes, [](const Planted::Spike& spike) { return spike.token == 7; });
  const Json json = run("convergence");
  EXPECT_LT(json["layers"][3]["spike"]["cosine"].get<double>(), 0.1);
  EXPECT_NE(json["verdict"]["verdict"], "confirmed");
}

TEST_F(ConvergenceTest, WithoutANormInFrontOfAttention) {
  for (const std::string places : {"branch", "after"}) {
    planted.config["norm_places"] = places;
    planted.with_norms = places == "after";
    const Json json = run("convergence");
    EXPECT_EQ(json["applicable"], true);
    EXPECT_EQ(json["input"], "blocks.*.resid_post");
    EXPECT_EQ(json["layers"][3]["spike"]["count"], 3);
    EXPECT_EQ(json["layers"][3]["mlp"].is_null(), places == "branch");
  }
}

TEST_F(ConvergenceTest, WithoutWhatItNeeds) {
  planted.with_norms = false;
  const Json json = run("convergence", false);
  EXPECT_EQ(json["applicable"], false);
  EXPECT_EQ(json["why"],
            "the dump does not hold what attention reads, and to make it it needs the checkpoint's weights: "
            "/nowhere/planted: no such file");
}

TEST_F(ConvergenceTest, WithoutSpikesAndInShortWindows) {
  planted.spikes.clear();
  Json json = run("convergence");
  EXPECT_EQ(json["verdict"]["verdict"], "not applicable");
  EXPECT_TRUE(json["layers"][3]["dim"].is_null());
  EXPECT_TRUE(json["layers"][3]["ordinary"]["cv"].is_null());
  for (const Figure& figure : section().figures) check_figure(figure);
  planted.lengths = {1, 3};
  json = run("convergence");
  EXPECT_EQ(json["layers"][3]["ordinary"]["count"], 0);
  for (const Figure& figure : section().figures) check_figure(figure);
}

TEST_F(ConvergenceTest, SeedsAreRepeatable) {
  planted.lengths = {100, 100};
  const Json first = run("convergence", false, 1), again = run("convergence", false, 1),
             other = run("convergence", false, 2);
  EXPECT_EQ(first["seed"], 1);
  EXPECT_EQ(first["layers"], again["layers"]);
  EXPECT_NE(first["layers"][3]["ordinary"], other["layers"][3]["ordinary"]);
  EXPECT_EQ(weights_opened, 0);
}

TEST_F(ConvergenceTest, ReadsTheRowsOfTheTokens) {
  planted.write(folder.path());
  const DumpReader dump(folder.path());
  const TokenVectors vectors = read_vectors(dump, dumped(dump, {Point::ln1_out, 2}), {{1, 3}, {7}});
  EXPECT_THAT(vectors.offsets, ElementsAre(0, 2, 3));
  const std::vector<float> all = planted.normed(2);
  const auto row = [&](int64_t index) {
    return std::vector<float>(all.begin() + index * Planted::kDims, all.begin() + (index + 1) * Planted::kDims);
  };
  for (const auto& [index, of] : {std::pair(0, 1), {1, 3}, {2, 27}})
    EXPECT_TRUE(std::equal(vectors[index].begin(), vectors[index].end(), row(of).begin())) << of;
}

TEST_F(ConvergenceTest, SectionSaysWhatDecides) {
  run("convergence");
  const Section content = section();
  std::vector<std::string> ids;
  for (const Figure& figure : content.figures) {
    EXPECT_NO_THROW(check_figure(figure));
    EXPECT_THAT(figure.caption, HasSubstr("planted"));
    ids.push_back(figure.id);
  }
  EXPECT_THAT(ids, ElementsAre("convergence-cosine", "convergence-deviation", "convergence-layers"));
  EXPECT_THAT(content.summary, HasSubstr("Confirmed here: cosine 1.000"));
  EXPECT_THAT(content.tables[0].rows, Each(SizeIs(content.tables[0].columns.size())));
}

}  // namespace
}  // namespace spikescope
