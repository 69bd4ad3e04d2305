// Where template and ordinary tokens lie among the singular directions.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "analyses/null_space/plan.h"
#include "analysis_fixture.h"
#include "error_of.h"
#include "figure/figure.h"

namespace spikescope {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::error_of;
using testing::Planted;
using ::testing::SizeIs;

class NullSpaceTest : public testing::AnalysisTest {
 protected:
  NullSpaceTest() {
    planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
  }
};

/// Share of x within the span of two rows [2, 32], by Gram and Schmidt.
double in_span(const std::vector<float>& rows, const std::vector<double>& x) {
  const auto at = [&](size_t r, size_t i) { return static_cast<double>(rows[r * Planted::kDims + i]); };
  double aa = 0.0, ab = 0.0, ax = 0.0, bb = 0.0, bx = 0.0, xx = 0.0;
  for (size_t i = 0; i < Planted::kDims; ++i) {
    aa += at(0, i) * at(0, i);
    ab += at(0, i) * at(1, i);
    bb += at(1, i) * at(1, i);
    ax += at(0, i) * x[i];
    bx += at(1, i) * x[i];
    xx += x[i] * x[i];
  }
  const double rest = bx - ab / aa * ax, rest_square = bb - ab * ab / aa;
  return (ax * ax / aa + rest * rest / rest_square) / xx;
}

TEST_F(NullSpaceTest, CurvesEndAtTheRowSpace) {
  const Json json = run("null_space");
  ASSERT_THAT(json["layers"], SizeIs(6));
  std::vector<double> star(Planted::kDims);
  const std::vector<float> all = planted.normed(3);
  for (const size_t row : {0, 20, 27})
    for (size_t i = 0; i < star.size(); ++i) star[i] += all[row * Planted::kDims + i] / 3;
  const Json& matrices = json["layers"][3]["matrices"];
  for (const auto& [name, role, rank] :
       {std::tuple("W_Q", Role::w_q, 4u), {"W_K", Role::w_k, 2u}, {"W_V", Role::w_v, 2u}}) {
    const Json& matrix = matrices[name];
    for (const char* key : {"curve_template", "curve_semantic"}) {
      const auto curve = matrix[key].get<std::vector<double>>();
      EXPECT_THAT(curve, SizeIs(rank));
      EXPECT_TRUE(std::is_sorted(curve.begin(), curve.end()));
      EXPECT_GE(curve.front(), 0.0);
      EXPECT_LE(curve.back(), 1.0);
    }
    const size_t k90 = matrix["k90"];
    EXPECT_NEAR(matrix["template"].get<double>(), matrix["curve_template"][k90 - 1].get<double>(), 1e-8);
    EXPECT_NEAR(matrix["semantic"].get<double>(), matrix["curve_semantic"][k90 - 1].get<double>(), 1e-8);
    EXPECT_EQ(matrix["random"], static_cast<double>(k90) / Planted::kDims);
    EXPECT_TRUE(matrix["semantic_se"].is_number());
    ASSERT_THAT(matrix["kv_heads"], SizeIs(1));
    EXPECT_EQ(matrix["kv_heads"][0]["k90"], matrix["k90"]) << "the only head is the whole";
    if (rank == 2) {
      EXPECT_NEAR(matrix["curve_template"][1].get<double>(), in_span(weights.get().read(role, 3).values, star), 1e-6);
    }
  }
  EXPECT_EQ(arrays("null_space").read<double>("/W_Q/singular_values").size(), 6u * 4);
  EXPECT_EQ(arrays("null_space").read<double>("/W_V/curve_template").size(), 6u * 2);
}

TEST(SpectrumPlan, AllPartsOfSmallModels) {
  const testing::PlantedWeights weights;
  const SpectrumPlan plan = plan_spectra(matrices_of(weights.get()), 6, 10, {}, {});
  EXPECT_THAT(plan.stacked, Each(ElementsAre(0, 1, 2, 3, 4, 5)));
  const std::vector<Part> parts = plan.parts(2);
  ASSERT_THAT(parts, SizeIs(6));  // three matrices, each whole and of its one KV head
  double work = 0.0;
  for (const Part& part : parts) {
    EXPECT_EQ(part.first_row, 0);
    EXPECT_EQ(part.rows, part.matrix == 0 ? 4 : 2) << "both query heads share the KV head";
    EXPECT_LE(part.work, parts[0].work) << "most work first";
    work += part.work;
  }
  EXPECT_DOUBLE_EQ(plan.work(6, 1), 6 * work);
  EXPECT_LT(plan.work(6, 2), 6 * work);
  EXPECT_GE(plan.work(6, 2), 3 * work * (1 - 1e-12));
  EXPECT_EQ(read_matrices(weights.get(), 2)[0], weights.get().read(Role::w_q, 2).values);
}

TEST(SpectrumPlan, ChoosesBlocksOfLargeModels) {
  // LLaMA 2's 7B, and the same with 8 KV heads.
  const auto plan_of = [](int64_t kv_rows, const LayerChoice& chosen) {
    return plan_spectra({{"W_Q", false, 4096, 4096, 32}, {"W_K", false, kv_rows, 4096, kv_rows / 128}}, 32, 1025,
                        std::vector<Plateau>{{2, 30, {}, {}, {}, 0}}, chosen);
  };
  EXPECT_THAT(plan_of(4096, {}).stacked, Each(ElementsAre(0, 2, 16, 31)));
  EXPECT_THAT(plan_of(1024, {}).stacked, ElementsAre(ElementsAre(0, 2, 16, 31), SizeIs(32)));
  const LayerChoice chosen = std::vector<std::pair<int64_t, int64_t>>{{3, 4}, {30, 31}};
  EXPECT_THAT(plan_of(1024, chosen).stacked, Each(ElementsAre(3, 4, 30, 31)));
  const LayerChoice none = std::vector<std::pair<int64_t, int64_t>>{};
  EXPECT_THAT(plan_of(1024, none).parts(0), SizeIs(32 + 8)) << "32 of queries, 8 of keys";
}

TEST(SpectrumPlan, EveryBlockIsOfSomeInterest) {
  for (const int64_t blocks : {1, 2, 7, 32}) {
    std::vector<int64_t> order = by_interest(blocks, std::vector<Plateau>{{1, blocks, {}, {}, {}, 0}});
    std::sort(order.begin(), order.end());
    ASSERT_THAT(order, SizeIs(blocks));
    for (int64_t block = 0; block < blocks; ++block) EXPECT_EQ(order[static_cast<size_t>(block)], block);
  }
  EXPECT_THAT(by_interest(32, std::vector<Plateau>{{3, 9, {}, {}, {}, 0}, {12, 28, {}, {}, {}, 0}}),
              ::testing::Contains(20).Times(1));
  EXPECT_EQ(by_interest(32, std::vector<Plateau>{{3, 9, {}, {}, {}, 0}, {12, 28, {}, {}, {}, 0}})[0], 6);
}

TEST(SpectrumPlan, WorkGrowsWithTheShorterSideSquared) {
  EXPECT_DOUBLE_EQ(decomposition_work(64, 512, 0), 64.0 * 64 * 512);
  EXPECT_DOUBLE_EQ(decomposition_work(512, 64, 0), 64.0 * 64 * 512);
  EXPECT_GT(decomposition_work(64, 512, 100), decomposition_work(64, 512, 0));
  EXPECT_GT(seconds_of_work(32), 0.0);
}

TEST(LayerChoice, IsReadAsWritten) {
  EXPECT_FALSE(parse_layers("auto", "--x").has_value());
  EXPECT_THAT(chosen_blocks(parse_layers("all", "--x"), 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(chosen_blocks(parse_layers("none", "--x"), 3), SizeIs(0));
  EXPECT_THAT(chosen_blocks(parse_layers("7,0-2,1", "--x"), 8), ElementsAre(0, 1, 2, 7));
  for (const char* bad : {"", "x", "1-", "-1", "2-1", "1,,2", "1,", "0-99999999999999999999", "1.5"})
    EXPECT_THAT(error_of([&] { parse_layers(bad, "--x"); }), HasSubstr("--x")) << bad;
  EXPECT_THAT(error_of([] { check_layers(parse_layers("1-8", "--x"), 8, "--x"); }),
              HasSubstr("there is no block 8; the model has blocks 0 to 7"));
  EXPECT_NO_THROW(check_layers(parse_layers("all", "--x"), 8, "--x"));
  EXPECT_NO_THROW(check_layers(parse_layers("0-7", "--x"), 8, "--x"));
}

TEST_F(NullSpaceTest, StackedMatricesOfChosenBlocksAlone) {
  const Json all = run("null_space"), few = run("null_space", {0, parse_layers("3,5", "--x"), {}});
  EXPECT_EQ(few["stacked_layers"]["W_V"], Json({3, 5}));
  EXPECT_EQ(few["layers"][3], all["layers"][3]);
  const Json& matrix = few["layers"][2]["matrices"]["W_V"];
  EXPECT_TRUE(matrix["k90"].is_null());
  EXPECT_TRUE(matrix["template"].is_null());
  EXPECT_THAT(matrix["curve_template"], SizeIs(0));
  EXPECT_EQ(matrix["kv_heads"], all["layers"][2]["matrices"]["W_V"]["kv_heads"]) << "heads are always looked at";
  const auto values = arrays("null_space").read<double>("/W_V/singular_values");
  ASSERT_THAT(values, SizeIs(6 * 2));
  EXPECT_TRUE(std::isnan(values[2 * 2]));
  EXPECT_FALSE(std::isnan(values[3 * 2]));
  // The only head is the whole, so that the verdict, which then goes by heads, is the same.
  EXPECT_EQ(few["verdict"], all["verdict"]);
  expect_whole_section({"null-space-layers", "null-space-v", "null-space-k", "null-space-q"});
  EXPECT_THAT(section().figures[1].caption, HasSubstr("Layers looked at: 3 and 5."));
  run("null_space", {0, parse_layers("none", "--x"), {}});
  expect_whole_section({"null-space-layers"});
  EXPECT_THAT(error_of([&] { run("null_space", {0, parse_layers("6", "--x"), {}}); }), HasSubstr("no block 6"));
}

TEST_F(NullSpaceTest, SaysHowLongItTakes) {
  const Json json = run("null_space");
  EXPECT_GT(json["predicted_seconds"], 0.0);
  EXPECT_GE(json["predicted_seconds_all_layers"], json["predicted_seconds"]);
  EXPECT_GT(json["decomposition_seconds"], 0.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end())) << "progress goes forwards";
}

TEST_F(NullSpaceTest, NeedsTheCheckpoint) {
  const Json json = run("null_space", false);
  EXPECT_EQ(json["applicable"], false);
  EXPECT_THAT(json["why"].get<std::string>(), HasSubstr("no such file"));
}

TEST_F(NullSpaceTest, WithoutOrdinaryTokens) {
  planted.lengths = {4, 1};
  planted.spikes.clear();
  const Json json = run("null_space");
  const Json& matrix = json["layers"][2]["matrices"]["W_V"];
  EXPECT_TRUE(matrix["semantic"].is_null());
  EXPECT_TRUE(matrix["template"].is_number());
  EXPECT_TRUE(matrix["curve_semantic"][0].is_null());
  EXPECT_EQ(json["verdict"]["verdict"], "not applicable");
  for (const Figure& figure : section().figures) EXPECT_NO_THROW(check_figure(figure));
}

TEST_F(NullSpaceTest, SectionHasWholeFigures) {
  run("null_space");
  expect_whole_section({"null-space-layers", "null-space-v", "null-space-k", "null-space-q"});
}

}  // namespace
}  // namespace spikescope
