// Queries and keys from the weights against those of the pass.
#include "analyses/projections.h"

#include <gtest/gtest.h>

#include "capture/capture.h"
#include "families/checkpoint.h"
#include "fixtures.h"

namespace spikescope {
namespace {

class ProjectionsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ProjectionsTest, AreWhatThePassTurns) {
  const std::filesystem::path model = testing::golden_model(GetParam());
  if (!std::filesystem::exists(model)) GTEST_SKIP() << testing::no_fixtures_at(model);
  const auto checkpoint = Checkpoint::open(model);
  const Architecture& a = checkpoint->architecture();
  DumpTokens tokens;
  tokens.ids = {3, 1, 4, 1, 5, 9};
  tokens.offsets = {0, 6};
  tokens.strings.resize(6);
  tokens.prompts = {{{"source", "test"}}};
  CaptureRequest request;
  request.points_if_any = {"*"};
  const testing::TemporaryFolder folder;
  capture(*checkpoint, tokens, {}, request, folder.path(), {});
  const DumpReader dump(folder.path());

  const int last = static_cast<int>(a.n_layers) - 1;
  // Without a norm in front of attention it reads the residual stream.
  const HookPoint input = a.norms_before() ? HookPoint{Point::ln1_out, last} : HookPoint{Point::resid_post, last - 1};
  const bool normed = a.qk_norm != QkNorm::none;
  const Projections project(checkpoint->weights(), last);
  std::vector<float> rows = project(dump.read(input, 0, 6).data(), 6);
  project.limit_and_norm(rows);
  const std::vector<float> q = dump.read({normed ? Point::q_normed : Point::q, last}, 0, 6),
                           k = dump.read({normed ? Point::k_normed : Point::k, last}, 0, 6);
  for (int64_t row = 0; row < 6; ++row) {
    const float* of_row = rows.data() + row * project.row_size();
    for (int64_t i = 0; i < a.q_size(); ++i)
      ASSERT_NEAR(of_row[project.query(0) + i], q[static_cast<size_t>(row * a.q_size() + i)], 1e-5);
    for (int64_t i = 0; i < a.k_size(); ++i)
      ASSERT_NEAR(of_row[project.key(0) + i], k[static_cast<size_t>(row * a.k_size() + i)], 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ProjectionsTest, ::testing::Values("qwen3", "gemma3_text", "olmo2", "gpt_neox", "mpt", "deepseek_v3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace spikescope
