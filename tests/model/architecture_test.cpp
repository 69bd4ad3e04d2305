// What an Architecture says about itself: slopes, hook points, peculiarities, and what it refuses.

#include "model/architecture.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

/// LLaMA's kind.
Architecture plain() {
  Architecture a;
  a.n_layers = 2;
  a.d_model = 16;
  a.n_heads = 4;
  a.n_kv_heads = 2;
  a.head_dim = 4;
  a.mlp_width = 24;
  a.vocabulary = 64;
  a.context_length = 128;
  a.ropes = {{.dims = 4, .frequencies = {1.0, 0.1}}};
  a.blocks.resize(2);
  return a;
}

/// The published rule (arXiv 2108.12409, and its code for other numbers): with n heads, n a power of two, 2^(-8 i / n);
/// else those of the next lower power of two, and then every second one of the next higher.
std::vector<double> slopes_by_definition(int64_t heads, double most) {
  const double whole = std::exp2(std::floor(std::log2(static_cast<double>(heads))));
  std::vector<double> slopes;
  for (double i = 1; i <= whole; ++i) slopes.push_back(std::pow(2.0, -most * i / whole));
  for (double i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2)
    slopes.push_back(std::pow(2.0, -most * i / (2.0 * whole)));
  return slopes;
}

TEST(AlibiSlopes, FollowTheDefinition) {
  EXPECT_THAT(alibi_slopes(4), ElementsAre(1.0 / 4, 1.0 / 16, 1.0 / 64, 1.0 / 256));
  EXPECT_THAT(alibi_slopes(6), ElementsAre(1.0 / 4, 1.0 / 16, 1.0 / 64, 1.0 / 256, 1.0 / 2, 1.0 / 8));
  EXPECT_THAT(alibi_slopes(2, 16.0), ElementsAre(1.0 / 256, 1.0 / 65536));
  for (const int64_t heads : {1, 12, 71, 112}) {
    const std::vector<double> slopes = alibi_slopes(heads), expected = slopes_by_definition(heads, 8.0);
    ASSERT_EQ(slopes.size(), expected.size());
    for (size_t i = 0; i < slopes.size(); ++i) EXPECT_NEAR(slopes[i], expected[i], 1e-15) << heads << " " << i;
  }
}

/// Which points of block 0 an architecture has beside LLaMA's (+) or lacks (-).
struct Points {
  const char* name;
  void (*change)(Architecture&);
  std::vector<Point> more, fewer;
};

TEST(HookPointsOf, FollowTheArchitecture) {
  const Points kinds[] = {
      {"LLaMA", [](Architecture&) {}, {}, {}},
      {"Gemma 3",
       [](Architecture& a) {
         a.norm_places = NormPlaces::sandwich;
         a.qk_norm = QkNorm::head;
       },
       {Point::q_normed, Point::k_normed, Point::ln1_post_out, Point::ln2_post_out},
       {}},
      {"OLMo 2",
       [](Architecture& a) { a.norm_places = NormPlaces::branch; },
       {Point::ln1_post_out, Point::ln2_post_out},
       {Point::ln1_out, Point::ln2_out}},
      {"Falcon 7B", [](Architecture& a) { a.parallel = a.shared_norm = true; }, {}, {Point::resid_mid, Point::ln2_out}},
      {"GPT-NeoX", [](Architecture& a) { a.parallel = true; }, {}, {Point::resid_mid}},
      {"BERT", [](Architecture& a) { a.norm_places = NormPlaces::after; }, {}, {}},
      {"DINOv2", [](Architecture& a) { a.layer_scale = true; }, {Point::attn_scaled, Point::mlp_scaled}, {}},
      {"Mixtral",
       [](Architecture& a) { a.blocks[0].experts = true; },
       {Point::router_logits, Point::router_weights, Point::router_indices},
       {Point::mlp_pre, Point::mlp_post}},
  };
  const Point usual[] = {Point::resid_pre, Point::ln1_out,   Point::q,       Point::k,       Point::v,
                         Point::rot_q,     Point::rot_k,     Point::scores,  Point::pattern, Point::z,
                         Point::attn_out,  Point::resid_mid, Point::ln2_out, Point::mlp_pre, Point::mlp_post,
                         Point::mlp_out,   Point::resid_post};
  for (const Points& kind : kinds) {
    Architecture a = plain();
    kind.change(a);
    std::set<Point> expected(std::begin(usual), std::end(usual));
    expected.insert(kind.more.begin(), kind.more.end());
    for (const Point point : kind.fewer) expected.erase(point);
    std::set<Point> actual;
    for (const HookPoint& point : hook_points(a))
      if (point.layer == 0) actual.insert(point.point);
    EXPECT_EQ(actual, expected) << kind.name;
  }
}

TEST(HookPointsOf, TheModel) {
  Architecture a = plain();
  EXPECT_TRUE(has_point(a, {Point::logits, -1}));
  EXPECT_FALSE(has_point(a, {Point::logits, 0})) << "not in a block";
  EXPECT_FALSE(has_point(a, {Point::z, -1})) << "in a block";
  EXPECT_FALSE(has_point(a, {Point::z, 2})) << "beyond the last block";
  a.final_norm = a.head = false;
  EXPECT_FALSE(has_point(a, {Point::logits, -1}));
  EXPECT_FALSE(has_point(a, {Point::ln_final_out, -1}));
  a.v_head_dim = 3;
  EXPECT_THAT(row_shape(a, {Point::v, 0}), ElementsAre(2, 3));
  EXPECT_THAT(row_shape(a, {Point::z, 0}), ElementsAre(4, 3));
  EXPECT_THAT(row_shape(a, {Point::rot_k, 0}), ElementsAre(2, 4));
}

TEST(Validate, NamesWhatIsWrong) {
  const auto message = [](void (*change)(Architecture&)) {
    Architecture a = plain();
    change(a);
    return testing::error_of([&] { validate(a, "file"); });
  };
  EXPECT_EQ(message([](Architecture&) {}), "");
  EXPECT_EQ(message([](Architecture& a) { a.n_layers = 4097; }), "file: layers is 4097; expected 1 to 4096");
  EXPECT_THAT(message([](Architecture& a) { a.n_kv_heads = 3; }), HasSubstr("4 heads cannot share 3 KV heads"));
  EXPECT_THAT(message([](Architecture& a) { a.ropes[0].dims = 6; }), HasSubstr("RoPE turns 6 channels"));
  EXPECT_THAT(message([](Architecture& a) { a.norm_eps = NAN; }), HasSubstr("epsilon is nan"));
  EXPECT_THAT(message([](Architecture& a) { a.logit_softcap = NAN; }), HasSubstr("soft cap on logits is nan"));
  EXPECT_THAT(message([](Architecture& a) { a.attention_scale = INFINITY; }), HasSubstr("attention scale is inf"));
  EXPECT_THAT(message([](Architecture& a) { a.attention_scale = 1e-30; }), HasSubstr("attention scale is 1e-30"));
  EXPECT_THAT(message([](Architecture& a) { a.learned_positions = 100; }),
              HasSubstr("a context of 128 tokens, but 100 positions"));
  EXPECT_THAT(message([](Architecture& a) { a.blocks[1].experts = true; }), HasSubstr("0 experts"));
  EXPECT_THAT(message([](Architecture& a) {
                a.blocks[1].experts = true;
                a.experts = {.count = 8, .per_token = 2, .width = 4};
                a.norm_places = NormPlaces::sandwich;
              }),
              HasSubstr("a norm of its own before it only"));
}

TEST(Peculiarities, SayWhatIsUnusual) {
  EXPECT_THAT(peculiarities(plain()), IsEmpty());
  Architecture a = plain();
  a.causal = a.gated = false;
  a.norm = NormKind::layer;
  a.norm_places = NormPlaces::sandwich;
  a.blocks[0].window = 8;
  a.blocks[1].rope = -1;
  a.ropes[0].dims = 2;
  a.attention_softcap = 30.0;
  a.experts = {.count = 8, .per_token = 2, .width = 4, .shared_width = 4};
  a.blocks[0].experts = a.blocks[1].experts = true;
  EXPECT_THAT(
      peculiarities(a),
      ElementsAre("every token sees all others (an encoder)", "layer norms without bias", "sandwich norms",
                  "sliding window 8 on 1 of 2 layers", "no RoPE on 1 of 2 layers", "RoPE on 2 of 4 channels",
                  "scores capped at 30", "MLP without a gate", "2 of 8 experts a token and shared ones on all layers"));
}

}  // namespace
}  // namespace spikescope
