// Where template and ordinary tokens lie among the singular directions.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "analyses/null_space/matrices.h"
#include "analysis_fixture.h"
#include "figure/figure.h"

namespace spikescope {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Planted;
using ::testing::SizeIs;

class NullSpaceTest : public testing::AnalysisTest {
 protected:
  NullSpaceTest() {
    planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
  }
  Section section() { return load_results(folder.path()).at(0).section; }
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

TEST(BlockParts, OfEachKvHead) {
  const testing::PlantedWeights weights;
  const std::vector<Part> parts = block_parts(weights.get(), 2);
  ASSERT_THAT(parts, SizeIs(6));  // three matrices, each whole and of its one KV head
  const std::vector<float> w_q = weights.get().read(Role::w_q, 2).values;
  EXPECT_EQ(parts[0].kv_head, -1);
  EXPECT_EQ(parts[0].rows, 4);
  EXPECT_EQ(parts[0].values, w_q);
  EXPECT_EQ(parts[1].kv_head, 0);
  EXPECT_EQ(parts[1].values, w_q) << "both query heads share it";
  EXPECT_EQ(parts[5].rows, 2);
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
  const Section content = section();
  std::vector<std::string> ids;
  for (const Figure& figure : content.figures) {
    EXPECT_NO_THROW(check_figure(figure));
    EXPECT_THAT(figure.caption, HasSubstr("planted"));
    ids.push_back(figure.id);
  }
  EXPECT_THAT(ids, ElementsAre("null-space-layers", "null-space-v", "null-space-k", "null-space-q"));
  EXPECT_THAT(content.tables[0].rows, Each(SizeIs(content.tables[0].columns.size())));
}

}  // namespace
}  // namespace spikescope
