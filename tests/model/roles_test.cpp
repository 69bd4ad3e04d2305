// What weights an architecture has, how large they are, and where their rows lie in a tensor.

#include "model/roles.h"

#include <gmock/gmock.h>

#include <cstring>
#include <numeric>
#include <set>

#include "../error_of.h"
#include "model/weights.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using Shape = std::pair<int64_t, int64_t>;

Architecture small() {
  Architecture a;
  a.family = "small";
  a.n_layers = 2;
  a.d_model = 8;
  a.n_heads = 4;
  a.n_kv_heads = 2;
  a.head_dim = 3;
  a.mlp_width = 10;
  a.vocabulary = 7;
  a.context_length = 16;
  a.blocks.resize(2);
  return a;
}

/// DeepSeek's kind: a dense block, then one with experts.
Architecture latent() {
  Architecture a = small();
  a.n_kv_heads = 4;
  a.head_dim = 5;
  a.v_head_dim = 6;
  a.latent = {.q_rank = 3, .kv_rank = 4};
  a.ropes = {{.first = 3, .dims = 2, .frequencies = {1.0}}};
  a.experts = {.count = 3, .per_token = 1, .width = 9, .shared_width = 11, .bias = true};
  a.blocks[1].experts = true;
  return a;
}

int64_t times(std::initializer_list<std::pair<int64_t, int64_t>> shapes) {
  int64_t sum = 0;
  for (const auto& [rows, columns] : shapes) sum += rows * columns;
  return sum;
}

TEST(ParameterCount, IsWhatAHandCounts) {
  const int64_t block = times({{8, 1}, {12, 8}, {6, 8}, {6, 8}, {8, 12}, {8, 1}, {10, 8}, {10, 8}, {8, 10}});
  EXPECT_EQ(parameter_count(small()), 7 * 8 + 2 * block + 8 + 7 * 8);

  Architecture tied = small();
  tied.tied_embeddings = true;
  tied.attention_bias = tied.mlp_bias = true;
  tied.gated = false;
  const int64_t ungated = block - 10 * 8 + (12 + 6 + 6) + (10 + 8);
  EXPECT_EQ(parameter_count(tied), 7 * 8 + 2 * ungated + 8);

  const int64_t attention = times({{3, 8}, {3, 1}, {20, 3}, {4 + 2, 8}, {4, 1}, {4 * (3 + 6), 4}, {8, 24}});
  const int64_t experts = times({{3, 8}, {3, 1}}) + 3 * 3 * 9 * 8 + 3 * 11 * 8;
  EXPECT_EQ(parameter_count(latent()), 7 * 8 + 2 * (attention + 8 + 8) + 3 * 10 * 8 + experts + 8 + 7 * 8);
}

TEST(WeightKeys, AreAllRolesOfTheArchitectureOnce) {
  for (const Architecture& a : {small(), latent()}) {
    std::set<std::tuple<Role, int, int>> seen;
    int64_t values = 0;
    for (const WeightKey& key : weight_keys(a)) {
      EXPECT_TRUE(has_role(a, key.role, key.layer)) << role_name(key.role);
      EXPECT_TRUE(seen.insert({key.role, key.layer, key.expert}).second) << role_name(key.role);
      const auto [rows, columns] = role_shape(a, key.role);
      values += rows * columns;
    }
    EXPECT_EQ(values, parameter_count(a));
    size_t by_block = 0;
    for (int layer = -1; layer < a.n_layers; ++layer) by_block += weight_keys(a, layer).size();
    EXPECT_EQ(by_block, seen.size());
  }
}

TEST(Roles, FollowTheArchitecture) {
  const Architecture plain = small(), mixed = latent();
  EXPECT_TRUE(has_role(plain, Role::w_k, 0));
  EXPECT_FALSE(has_role(plain, Role::w_k)) << "per block";
  EXPECT_FALSE(has_role(plain, Role::ln_final, 0)) << "per model";
  EXPECT_FALSE(has_role(mixed, Role::w_k, 0));
  EXPECT_TRUE(has_role(mixed, Role::w_gate, 0));
  EXPECT_FALSE(has_role(mixed, Role::w_gate, 1));
  EXPECT_TRUE(has_role(mixed, Role::expert_up, 1));
  EXPECT_EQ(role_shape(mixed, Role::w_q), (Shape{20, 3}));
  EXPECT_EQ(role_shape(mixed, Role::w_kv_b), (Shape{36, 4}));
  EXPECT_EQ(role_shape(mixed, Role::w_o), (Shape{8, 24}));
  Architecture normed = small();
  normed.qk_norm = QkNorm::all;
  EXPECT_EQ(role_shape(normed, Role::k_norm), (Shape{6, 1}));
  normed.qk_norm = QkNorm::head;
  EXPECT_EQ(role_shape(normed, Role::k_norm), (Shape{3, 1}));
  normed.norm_places = NormPlaces::branch;
  EXPECT_FALSE(has_role(normed, Role::ln1, 0));
  EXPECT_TRUE(has_role(normed, Role::ln2_post, 0));
  EXPECT_EQ(all_roles().size(), static_cast<size_t>(Role::logit_bias) + 1);
}

/// A model of nothing but a token embedding [vocabulary, d], which lies in the tensor "t" as `place` says; the tensor
/// counts its values from 0.
class Placed {
 public:
  Placed(std::vector<int64_t> shape, WeightPlace place, int64_t vocabulary, int64_t d) {
    architecture_.d_model = d;
    architecture_.vocabulary = vocabulary;
    architecture_.final_norm = architecture_.head = false;
    values_.resize(static_cast<size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>())));
    std::iota(values_.begin(), values_.end(), 0.0f);
    table_.add({"t", std::move(shape), find_safetensors_format("F32"), std::as_bytes(std::span(values_)), "file"});
    weights_ = std::make_unique<ModelWeights>(table_, architecture_, [place](const WeightKey&) { return place; });
  }
  std::vector<float> all() const { return weights_->read(Role::token_embedding).values; }
  std::vector<float> rows(int64_t first, int64_t count) const {
    std::vector<float> out(static_cast<size_t>(count * architecture_.d_model));
    weights_->read_rows({Role::token_embedding}, first, count, out.data());
    return out;
  }

 private:
  Architecture architecture_;
  std::vector<float> values_;
  TensorTable table_;
  std::unique_ptr<ModelWeights> weights_;
};

using Values = std::vector<float>;

TEST(WeightPlaces, RunsOfRows) {
  // Of 8 rows of 2: rows 1, 2, then 5, 6.
  const Placed runs({8, 2}, {.tensor = "t", .shape = {8, 2}, .first = 1, .run = 2, .stride = 4}, 4, 2);
  EXPECT_EQ(runs.all(), (Values{2, 3, 4, 5, 10, 11, 12, 13}));
  EXPECT_EQ(runs.rows(1, 2), (Values{4, 5, 10, 11})) << "from the end of a run to the begin of the next";
  const Placed part({6, 2}, {.tensor = "t", .shape = {6, 2}, .first = 4}, 2, 2);
  EXPECT_EQ(part.all(), (Values{8, 9, 10, 11}));
}

TEST(WeightPlaces, TurnedOverAndStacked) {
  const Placed turned({2, 3}, {.tensor = "t", .transposed = true}, 3, 2);
  EXPECT_EQ(turned.all(), (Values{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(turned.rows(1, 1), (Values{1, 4}));
  const Placed part({2, 6}, {.tensor = "t", .shape = {2, 6}, .transposed = true, .first = 3}, 3, 2);
  EXPECT_EQ(part.all(), (Values{3, 9, 4, 10, 5, 11})) << "columns 3 to 5 of [2, 6]";
  const Placed second({3, 2, 2}, {.tensor = "t", .shape = {3, 2, 2}, .first = 2}, 2, 2);
  EXPECT_EQ(second.all(), (Values{4, 5, 6, 7})) << "of three matrices the second";
}

TEST(WeightPlaces, InterleavedHeads) {
  // Two heads of 4 rows: row 1 of a head stands at 2, row 2 at 1.
  const Placed heads({8, 1}, {.tensor = "t", .shape = {8, 1}, .unpermute_heads = 2}, 8, 1);
  EXPECT_EQ(heads.all(), (Values{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(heads.rows(5, 2), (Values{6, 5}));
}

TEST(WeightPlaces, AnotherShapeIsNamed) {
  EXPECT_THAT(testing::error_of([] {
                Placed({3, 2}, {.tensor = "t"}, 2, 3);
              }),
              HasSubstr("'t' has shape [3, 2], but the config asks for [2, 3] (token_embedding)"));
  EXPECT_THAT(testing::error_of([] {
                Placed({3, 2}, {.tensor = "t", .shape = {6, 2}}, 3, 2);
              }),
              HasSubstr("asks for [6, 2]"));
}

}  // namespace
}  // namespace spikescope
