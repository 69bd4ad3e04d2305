// What is tried, and where: on a dump with planted spikes, so that every choice is known.
#include "intervene/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "../analyses/planted.h"
#include "../fixtures.h"
#include "analyses/analysis.h"
#include "analyses/interventions/verdict.h"
#include "intervene/placing.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::Planted;
using ::testing::SizeIs;

class Plan : public ::testing::Test {
 protected:
  /// Dimension 5 on r_3 and r_4; 9 and 11 on r_6, which no block reads.
  void make() {
    planted_.write(folder_.path());
    dump_ = std::make_unique<DumpReader>(folder_.path());
    layers_ = scan_residuals(*dump_, false, {});
    plateaus_ = find_plateaus(layers_);
    SharedScan scan(*dump_);
    writers_ =
        find_writers({*dump_, scan, [&]() -> const ModelWeights& { return weights_.get(); }, {}}, plateaus_).rows;
  }
  std::vector<InterventionRun> plan(uint64_t seed = 0) {
    std::mt19937_64 random(seed);
    return default_plan(*dump_, weights_.get().architecture(), layers_, plateaus_, writers_, random);
  }
  std::string spec(const std::vector<InterventionRun>& runs, const std::string& name) {
    for (const InterventionRun& run : runs)
      if (run.name == name) return to_text(run.edits);
    return "there is no run " + name;
  }

  testing::TemporaryFolder folder_;
  Planted planted_;
  testing::PlantedWeights weights_;
  std::unique_ptr<DumpReader> dump_;
  std::vector<LayerScan> layers_;
  std::vector<Plateau> plateaus_;
  std::vector<Writer> writers_;
};

TEST_F(Plan, IsMadeFromWhatTheBaselineShows) {
  // Dimensions 20 .. 22 of the spike tokens are next to the spike, below it.
  planted_.change = [](int64_t layer, std::vector<float>& state) {
    if (layer == 3)
      for (const size_t row : {0, 20, 27})
        for (size_t dim = 20; dim < 30; ++dim) state[row * 32 + dim] = 10.0f;
  };
  make();
  const auto runs = plan();
  EXPECT_EQ(spec(runs, "zero, r3 to r4"), "zero:layer=3,dims=5,tokens=spikes");
  EXPECT_EQ(spec(runs, "mean, r3 to r4"), "mean:layer=3,dims=5,tokens=spikes");
  EXPECT_EQ(spec(runs, "next dimensions, r3 to r4"), "zero:layer=3,dims=20+21+22+23+24+25+26+27+28+29,tokens=spikes");
  EXPECT_EQ(spec(runs, "ordinary tokens, r3 to r4"), "zero:layer=3,dims=5,tokens=ordinary");
  EXPECT_EQ(spec(runs, "clamp to 20 %, r3 to r4"), "clamp:layer=3-4,dims=5,tokens=spikes,value=320");
  // Neuron j has activation j: row 5 of W_down (7, 3, 0, 1) gives neuron 1 half of it and neuron 3 the other.
  EXPECT_EQ(spec(runs, "writers off, r3 to r4"),
            "zero:point=mlp.post,layer=1,dims=1+3,tokens=all zero:point=mlp.post,layer=2,dims=1+3,tokens=all");
  EXPECT_EQ(spec(runs, "random neurons off, r3 to r4"),
            "zero:point=mlp.post,layer=1,dims=0+2,tokens=all zero:point=mlp.post,layer=2,dims=0+2,tokens=all");
  EXPECT_EQ(spec(runs, "zero everywhere"), "zero:layer=3-5,dims=5,tokens=spikes");
  EXPECT_EQ(spec(runs, "templates inserted"),
            "zero:layer=3-5,dims=5,tokens=spikes mean:point=ln1.out,layer=3-5,dims=all,tokens=spikes "
            "mean:point=ln2.out,layer=3-5,dims=all,tokens=spikes");
  const std::set<std::string> controls = {"random dimensions", "next dimensions", "ordinary tokens",
                                          "random neurons off"};
  for (const InterventionRun& run : runs) {
    EXPECT_EQ(run.control, controls.contains(run.what)) << run.name;
    EXPECT_EQ(run.plateau.has_value(), run.name != run.what) << run.name;
    EXPECT_FALSE(run.given);
  }
}

TEST_F(Plan, RandomChoicesFollowTheSeedAndAvoidTheSpike) {
  make();
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto runs = plan(seed);
    EXPECT_EQ(to_text(runs[4].edits), to_text(plan(seed)[4].edits));
    ASSERT_EQ(runs[4].what, "random dimensions");
    EXPECT_THAT(runs[4].edits[0].dims, SizeIs(kRandomDims));
    EXPECT_EQ(std::count(runs[4].edits[0].dims.begin(), runs[4].edits[0].dims.end(), 5), 0);
    seen.insert(to_text(runs[4].edits));
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST_F(Plan, IsEmptyWithoutSpikes) {
  planted_.spikes.clear();
  make();
  EXPECT_TRUE(plan().empty());
}

TEST_F(Plan, EditsArePlacedOnTheTokensOfEachState) {
  make();
  const auto rows = [&](const std::string& text) {
    std::mt19937_64 random(1);
    std::vector<std::vector<int64_t>> all;
    const auto placed = place_edits(parse_edits(text, weights_.get().architecture()), dump_->tokens(), layers_, random);
    for (const std::vector<EditRow>& layer : placed.at(0).rows) {
      all.emplace_back();
      for (const EditRow& row : layer) {
        all.back().push_back(row.row);
        EXPECT_EQ(row.inside, row.row != 0 && row.row != 20);
      }
    }
    return all;
  };
  // Spikes: r_2 to r_4 at rows 0, 20 and 27; r_6 at rows 0 and 20.
  EXPECT_THAT(rows("zero:layer=1-5,dims=5"), ElementsAre(ElementsAre(), ElementsAre(0, 20, 27), ElementsAre(0, 20, 27),
                                                         ElementsAre(0, 20, 27), ElementsAre()));
  EXPECT_THAT(rows("zero:layer=5,dims=5,point=resid_post"), ElementsAre(ElementsAre(0, 20))) << "r_6";
  EXPECT_THAT(rows("zero:layer=0,dims=5,tokens=19+20+0"), ElementsAre(ElementsAre(0, 19, 20, 39)));
  EXPECT_THAT(rows("zero:layer=0,dims=5,tokens=all")[0], SizeIs(40));
  const auto ordinary = rows("zero:layer=3-4,dims=5,tokens=ordinary");
  ASSERT_THAT(ordinary[0], SizeIs(3));
  EXPECT_EQ(ordinary[0], ordinary[1]);
  for (const int64_t row : ordinary[0]) EXPECT_GE(row % 20, kFirstOrdinary);
  EXPECT_EQ(std::count_if(ordinary[0].begin(), ordinary[0].end(), [](int64_t row) { return row >= 20; }), 2);
}

TEST(Verdict, AsksForCollapseAndForNothing) {
  EXPECT_EQ(verdict_on_values(10.9, 0.002), "confirmed");
  EXPECT_EQ(verdict_on_values(2.0, 0.002), "partly");
  EXPECT_EQ(verdict_on_values(2.5, 0.2), "partly");
  EXPECT_EQ(verdict_on_values(2.5, 1.5), "not confirmed");
  EXPECT_EQ(verdict_on_values(0.01, 0.0), "not confirmed");
  EXPECT_EQ(verdict_on_values(-0.5, 0.0), "not confirmed");
  EXPECT_EQ(verdict_on_values(std::nan(""), 0.0), "not tested");
}

}  // namespace
}  // namespace spikescope
