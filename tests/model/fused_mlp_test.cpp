// An MLP taken a few columns of its width at a time is the MLP.

#include "model/fused_mlp.h"

#include <gtest/gtest.h>

#include "model/mlp.h"
#include "random_weights.h"

namespace spikescope {
namespace {

Architecture with_mlp(int64_t d_model, int64_t width, bool gated, Activator activation) {
  Architecture a;
  a.n_layers = 1;
  a.d_model = d_model;
  a.n_heads = a.n_kv_heads = 1;
  a.head_dim = 8;
  a.mlp_width = width;
  a.vocabulary = 7;
  a.gated = gated;
  a.activation = activation;
  a.mlp_bias = true;
  a.blocks.resize(1);
  return a;
}

class FusedMlp : public ::testing::TestWithParam<Dtype> {
 protected:
  void SetUp() override { choose_products(GetParam()); }
  void TearDown() override { choose_products(Dtype::float32); }
};

/// Widths that end within a piece of columns; and fewer rows than a tile has.
TEST_P(FusedMlp, IsTheLayersOneByOneToTheBit) {
  if (!sums_go_on()) GTEST_SKIP() << "products of this processor's kind are never fused";
  for (const bool gated : {true, false})
    for (const int64_t rows : {int64_t{256}, int64_t{37}}) {
      const Architecture a = with_mlp(72, rows == 256 ? 4000 : 30080, gated, gated ? Activator::silu : Activator::gelu);
      const int64_t d = a.d_model, width = a.mlp_width, pre_width = (gated ? 2 : 1) * width;
      const int64_t columns = fused_mlp_columns(a, rows);
      ASSERT_GT(columns, 0);
      ASSERT_LT(columns, width) << "a single piece would show nothing";
      const testing::RandomWeights weights(a);
      Linear gate_up, down;
      if (gated)
        gate_up.load(weights.weights(), {{{Role::w_gate, 0}, {Role::w_up, 0}}}, {{{Role::b_gate, 0}, {Role::b_up, 0}}});
      else
        gate_up.load(weights.weights(), {{{Role::w_up, 0}}}, {{{Role::b_up, 0}}});
      down.load(weights.weights(), {{{Role::w_down, 0}}}, {{{Role::b_down, 0}}});
      std::mt19937 random(1);
      std::normal_distribution<float> normal;
      std::vector<float> x(static_cast<size_t>(rows * d)), pre(static_cast<size_t>(rows * pre_width)),
          post(static_cast<size_t>(rows * width)), expected(x.size()), out(x.size());
      for (float& value : x) value = normal(random);
      gate_up({x.data(), rows, d, d}, {pre.data(), rows, pre_width, pre_width});
      if (gated)
        gated_activation(a.activation, pre.data(), pre.data() + width, rows, width, pre_width, pre_width, post.data(),
                         width);
      else
        plain_activation(a.activation, pre.data(), rows, width, pre_width, post.data(), width);
      down({post.data(), rows, width, width}, {expected.data(), rows, d, d});
      fused_mlp(a, gate_up, down, {x.data(), rows, d, d}, {out.data(), rows, d, d});
      EXPECT_EQ(out, expected) << (gated ? "gated, " : "plain, ") << rows << " rows";
    }
}

TEST_P(FusedMlp, IsLeftToTheLayersWhereItWouldNotFit) {
  EXPECT_EQ(fused_mlp_columns(with_mlp(4096, 11008, true, Activator::silu), 256), 0) << "rows of 4,096 values";
  EXPECT_EQ(fused_mlp_columns(with_mlp(64, 250, true, Activator::silu), 256), 0) << "not whole panels";
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FusedMlp, ::testing::Values(Dtype::float32, Dtype::bfloat16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

}  // namespace
}  // namespace spikescope
