// What attention and MLP read, made of the residual states, against what the pass had.
#include "analyses/block_inputs.h"

#include <gmock/gmock.h>

#include "analyses/residual_scan.h"
#include "analysis_fixture.h"
#include "capture/capture.h"
#include "families/checkpoint.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::Planted;

class BlockInputsOf : public ::testing::TestWithParam<const char*> {};

/// One dump with the norms, one with what analyses ask for.
TEST_P(BlockInputsOf, AreWhatThePassHadToTheBit) {
  const std::filesystem::path model = testing::golden_model(GetParam());
  if (!std::filesystem::exists(model)) GTEST_SKIP() << testing::no_fixtures_at(model);
  const auto checkpoint = Checkpoint::open(model);
  DumpTokens tokens;
  tokens.ids = {3, 1, 4, 1, 5, 9};
  tokens.offsets = {0, 4, 6};
  tokens.strings.resize(6);
  tokens.prompts = {{{"source", "test"}}, {{"source", "test"}}};
  const testing::TemporaryFolder all, few;
  CaptureRequest request;
  request.points_if_any = {"blocks.*.ln1.out", "blocks.*.ln2.out"};
  capture(*checkpoint, tokens, {}, request, all.path(), {});
  request.points_if_any = {"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out"};
  capture(*checkpoint, tokens, {}, request, few.path(), {});

  const DumpReader whole(all.path()), lean(few.path());
  SharedScan scan(lean);
  const BlockInputs inputs({lean, scan, [&]() -> const ModelWeights& { return checkpoint->weights(); }, {}});
  EXPECT_EQ(inputs.missing(), "");
  const Architecture& a = checkpoint->architecture();
  for (int block = 0; block < a.n_layers; ++block) {
    const VectorSource attention = inputs.attention(block);
    EXPECT_EQ(attention.point.kind().name == std::string("ln1.out"), a.norms_before());
    if (whole.has(attention.point)) {
      EXPECT_EQ(attention.read(1, 4), whole.read(attention.point, 1, 4)) << block;
    }
    const auto mlp = inputs.mlp(block);
    ASSERT_EQ(mlp.has_value(), a.has_ln2()) << block;
    if (mlp) {
      EXPECT_EQ(mlp->read(0, 6), whole.read(mlp->point, 0, 6)) << block;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, BlockInputsOf,
                         ::testing::Values("llama_yarn_rope", "gemma3_text", "olmo2", "gpt_neox", "falcon", "falcon_new",
                                           "bert", "mixtral", "deepseek_v3", "opt", "stablelm"),
                         [](const auto& info) { return std::string(info.param); });

class BlockInputsTest : public testing::AnalysisTest {};

TEST_F(BlockInputsTest, ResultsAreTheSameWithoutNormsInTheDump) {
  for (const char* name : {"alignment", "null_space", "rope_bands"}) {
    planted.with_norms = true;
    const Json with = run(name);
    planted.with_norms = false;
    const Json without = run(name);
    ASSERT_EQ(with["applicable"], without["applicable"]) << name;
    if (!with["applicable"]) continue;
    EXPECT_EQ(with["input"], without["input"]);
    for (const char* key : {"drain", "logit_gap", "sigma_template"}) {
      const Json &a = with["layers"][3], &b = without["layers"][3];
      if (a.contains(key) && a[key].is_number()) {
        EXPECT_NEAR(a[key].get<double>(), b[key].get<double>(), 1e-5) << name << " " << key;
      }
    }
  }
}

TEST_F(BlockInputsTest, OfTheMlpAreMissingWithoutAttentionsOutput) {
  planted.with_norms = planted.with_attn_out = false;
  const Json json = run("convergence");
  EXPECT_EQ(json["applicable"], true);
  EXPECT_TRUE(json["layers"][3]["mlp"].is_null());
  planted.with_attn_out = true;
  EXPECT_EQ(run("convergence")["layers"][3]["mlp"]["spike"]["count"], 3);
}

TEST_F(BlockInputsTest, AnotherCheckpointIsRefused) {
  planted.with_norms = false;
  weights.architecture().n_layers = 5;
  const Json json = run("alignment");
  EXPECT_EQ(json["applicable"], false);
  EXPECT_THAT(json["why"].get<std::string>(), HasSubstr("the checkpoint has 5 blocks of width 32, the dump 6"));
}

TEST_F(BlockInputsTest, StatesAreScannedOnce) {
  planted.write(folder.path());
  const DumpReader dump(folder.path());
  SharedScan scan(dump);
  int calls = 0;
  const auto count = [&](double) { ++calls; };
  const auto* first = &scan(false, count);
  EXPECT_EQ(calls, Planted::kBlocks + 1);
  EXPECT_EQ(&scan(false, count), first);
  EXPECT_EQ(calls, Planted::kBlocks + 1);
  EXPECT_TRUE(std::isnan((*first)[0].median));
  EXPECT_FALSE(std::isnan(scan(true, count)[0].median));
  EXPECT_EQ(calls, 2 * (Planted::kBlocks + 1));
  scan(false, count);
  EXPECT_EQ(calls, 2 * (Planted::kBlocks + 1)) << "medians beside it do no harm";
}

}  // namespace
}  // namespace spikescope
