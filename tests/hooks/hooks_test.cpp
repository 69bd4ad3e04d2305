#include "hooks/hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace spikescope {
namespace {

TEST(HookPoint, NamesAndDatasetsAreThoseOfTheInterface) {
  EXPECT_EQ((HookPoint{Point::rot_q, 3}).name(), "blocks.3.attn.rot_q");
  EXPECT_EQ((HookPoint{Point::rot_q, 3}).dataset(), "/blocks/3/attn/rot_q");
  EXPECT_EQ((HookPoint{Point::ln1_out, 11}).dataset(), "/blocks/11/ln1/out");
  EXPECT_EQ((HookPoint{Point::ln_final_out, -1}).name(), "ln_final.out");
  EXPECT_EQ((HookPoint{Point::embed, -1}).dataset(), "/embed");
}

TEST(HookPoint, EveryNameParsesBack) {
  for (const PointKind& kind : point_kinds()) {
    const HookPoint point{kind.point, kind.per_block ? 27 : -1};
    EXPECT_EQ(parse_hook_point(point.name()).name(), point.name());
    // A classifier's logits have the name of a language model's; which is meant, the architecture knows.
    if (kind.point != Point::class_logits) EXPECT_EQ(parse_hook_point(point.name()), point) << point.name();
  }
}

TEST(HookPoint, WrongNamesAreUsageErrorsThatHelp) {
  const auto message = [](const char* name) -> std::string {
    try {
      parse_hook_point(name);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message("blocks.0.resid_pots"), ::testing::HasSubstr("did you mean 'blocks.0.resid_post'"));
  EXPECT_THAT(message("blocks.x.resid_post"), ::testing::HasSubstr("blocks.<layer>"));
  EXPECT_THAT(message("blocks.-1.resid_post"), ::testing::HasSubstr("blocks.<layer>"));
  EXPECT_THAT(message("blocks.3"), ::testing::HasSubstr("blocks.<layer>"));
  EXPECT_THAT(message("blocks.99999999999999999999.z"), ::testing::HasSubstr("blocks.<layer>"));
  EXPECT_THAT(message("resid_post"), ::testing::HasSubstr("there is no hook point"));
  EXPECT_THAT(message("blocks.3.logits"), ::testing::HasSubstr("there is no hook point"));
  EXPECT_THAT(message(""), ::testing::HasSubstr("there is no hook point"));
}

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(glob_matches("blocks.*.resid_post", "blocks.12.resid_post"));
  EXPECT_FALSE(glob_matches("blocks.*.resid_post", "blocks.12.resid_post2"));
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*", "logits"));
  EXPECT_TRUE(glob_matches("blocks.1?.z", "blocks.12.z"));
  EXPECT_FALSE(glob_matches("blocks.1?.z", "blocks.1.z"));
  EXPECT_TRUE(glob_matches("blocks.[0-3].*", "blocks.2.attn.q"));
  EXPECT_FALSE(glob_matches("blocks.[0-3].*", "blocks.4.attn.q"));
  EXPECT_TRUE(glob_matches("blocks.[135].z", "blocks.5.z"));
  EXPECT_TRUE(glob_matches("*.attn.*_?", "blocks.0.attn.rot_q"));
  EXPECT_FALSE(glob_matches("", "x"));
  EXPECT_FALSE(glob_matches("[ab", "a")) << "an unclosed set matches nothing";
  EXPECT_FALSE(glob_matches(std::string(2000, '*') + "b", std::string(2000, 'a'))) << "and takes no exponential time";
}

TEST(Hooks, InterventionsRunBeforeObservers) {
  Hooks hooks;
  EXPECT_TRUE(hooks.empty());
  std::vector<float> seen;
  hooks.observe("blocks.*.z", [&](const Activation& a) { seen.push_back(a.values.row(0)[0]); });
  hooks.intervene("blocks.1.attn.z", [](const Activation& a) { a.values.row(0)[0] = 42.0f; });
  EXPECT_TRUE(hooks.wants({Point::z, 0}));
  EXPECT_FALSE(hooks.wants({Point::q, 0}));
  float value = 7.0f;
  hooks.call({{Point::z, 0}, 0, {&value, {1, 1}, 1}});
  hooks.call({{Point::z, 1}, 0, {&value, {1, 1}, 1}});
  hooks.call({{Point::q, 1}, 0, {&value, {1, 1}, 1}});
  EXPECT_THAT(seen, ::testing::ElementsAre(7.0f, 42.0f));
}

TEST(TensorView, CountsRowsAndTheirSize) {
  float data[24];
  const TensorView view{data, {2, 3, 2}, 12};
  EXPECT_EQ(view.rows(), 2);
  EXPECT_EQ(view.row_size(), 6);
  EXPECT_EQ(view.row(1), data + 12);
  EXPECT_EQ(TensorView{}.rows(), 0);
}

TEST(Hooks, AttentionBiasIsAskedOfItsBlock) {
  Hooks hooks;
  EXPECT_FALSE(hooks.biases_attention());
  EXPECT_TRUE(hooks.attention_bias(2).empty());
  std::vector<int64_t> found;  // by the pass, meanwhile
  hooks.bias_attention(2, [&] { return AttentionBias{.hidden = found}; });
  EXPECT_TRUE(hooks.biases_attention());
  EXPECT_FALSE(hooks.empty());
  EXPECT_TRUE(hooks.attention_bias(2).empty());
  found = {4, 7};
  EXPECT_EQ(hooks.attention_bias(2).hidden, found);
  EXPECT_TRUE(hooks.attention_bias(1).empty());
  EXPECT_THROW(hooks.bias_attention(2, [] { return AttentionBias(); }), Error);
}

}  // namespace
}  // namespace spikescope
