// Queries, keys and values: measures against loops over all tokens and pairs.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "analyses/alignment/block_alignment.h"
#include "analysis_fixture.h"
#include "figure/figure.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::Planted;
using ::testing::SizeIs;
using Vector = std::vector<double>;

double product(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
double length(const Vector& a) { return std::sqrt(product(a, a)); }
double cos_of(const Vector& a, const Vector& b) { return product(a, b) / (length(a) * length(b)); }
Vector minus(Vector a, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

/// Rows [head * 2, head * 2 + 2) of W times x: the planted weights have heads of 2.
Vector project(const Weight& w, int64_t head, const Vector& x) {
  Vector out;
  for (int64_t r = 2 * head; r < 2 * head + 2; ++r) {
    const auto row = w.values.begin() + r * w.columns;
    out.push_back(product(Vector(row, row + w.columns), x));
  }
  return out;
}

class AlignmentTest : public testing::AnalysisTest {
 protected:
  AlignmentTest() {
    planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
  }
  /// Row of r_l after the norm.
  Vector input(int64_t layer, int64_t row) const {
    const std::vector<float> all = planted.normed(layer);
    return Vector(all.begin() + row * Planted::kDims, all.begin() + (row + 1) * Planted::kDims);
  }
};

TEST_F(AlignmentTest, EqualsLoopsOverTokensAndPairs) {
  const Json layer = run("alignment")["layers"][3];
  EXPECT_EQ(layer["template"], "spikes");
  std::vector<Vector> x;
  for (int64_t prompt = 0; prompt < 2; ++prompt)
    for (int64_t t = 8; t < 20; ++t) x.push_back(input(3, 20 * prompt + t));
  Vector star(Planted::kDims), mean(Planted::kDims);
  for (const int64_t row : {0, 20, 27})
    for (size_t i = 0; i < star.size(); ++i) star[i] += input(3, row)[i] / 3;
  for (const Vector& one : x)
    for (size_t i = 0; i < star.size(); ++i) mean[i] += one[i] / static_cast<double>(x.size());
  const Weight w_q = weights.get().read(Role::w_q, 3), w_k = weights.get().read(Role::w_k, 3),
               w_v = weights.get().read(Role::w_v, 3);
  const Vector k_star = project(w_k, 0, star), v_star = project(w_v, 0, star);
  constexpr double kClose = 1e-4;  // products are float32

  double spike_logit = 0.0, logit = 0.0;
  for (int64_t head = 0; head < 2; ++head) {
    Moments cosines, others, positive, gap;
    Vector direction(2), query(2);
    for (const Vector& one : x) {
      const Vector q = project(w_q, head, one);
      cosines.add(cos_of(q, k_star));
      positive.add(product(q, k_star) > 0);
      gap.add(0.5 * product(q, k_star));
      for (const Vector& other : x) {
        others.add(cos_of(q, project(w_k, 0, other)));
        gap.add(0.0);
      }
      for (size_t i = 0; i < 2; ++i) {
        direction[i] += q[i] / length(q);
        query[i] += q[i] / static_cast<double>(x.size());
      }
    }
    Moments keys;
    for (const Vector& one : x) keys.add(product(direction, project(w_k, 0, one)));
    Moments logits;
    for (const Vector& one : x) logits.add(0.5 * product(query, project(w_k, 0, one)));
    const Json& row = layer["heads"][static_cast<size_t>(head)];
    EXPECT_NEAR(row["cos_template"].get<double>(), cosines.mean(), kClose);
    EXPECT_NEAR(row["cos_other"].get<double>(), others.mean(), kClose);
    EXPECT_NEAR(row["positive"].get<double>(), positive.mean(), kClose);
    EXPECT_NEAR(row["logit_gap"].get<double>(), 0.5 * product(query, k_star) - logits.mean(), kClose);
    EXPECT_NEAR(row["z"].get<double>(), (product(direction, k_star) - keys.mean()) / std::sqrt(keys.variance()),
                10 * kClose);
    logit += product(query, k_star);
    for (size_t i = 0; i < 2; ++i) spike_logit += query[i] * w_k.values[i * Planted::kDims + 5] * star[5];
  }
  EXPECT_NEAR(layer["spike_dim_share"].get<double>(), spike_logit / logit, 1e-3);

  Moments key_norm, contrast, value_norm, gain, norms, cos_input;
  for (const Vector& one : x) {
    key_norm.add(length(project(w_k, 0, one)));
    contrast.add(length(project(w_k, 0, minus(one, mean))) / length(minus(one, mean)));
    value_norm.add(length(project(w_v, 0, one)));
    gain.add(length(project(w_v, 0, one)) / length(one));
    norms.add(length(one));
    cos_input.add(cos_of(one, star));
  }
  const double random = length(Vector(w_v.values.begin(), w_v.values.end())) / std::sqrt(32.0);
  const Json& kv = layer["kv_heads"][0];
  EXPECT_NEAR(kv["key_norm_ratio"].get<double>(), length(k_star) / key_norm.mean(), kClose);
  EXPECT_NEAR(kv["contrast"].get<double>(),
              length(project(w_k, 0, minus(star, mean))) / length(minus(star, mean)) / contrast.mean(), kClose);
  EXPECT_NEAR(kv["v_gain_template"].get<double>(), length(v_star) / length(star) / random, kClose);
  EXPECT_NEAR(kv["v_gain_semantic"].get<double>(), gain.mean() / random, kClose);
  EXPECT_NEAR(kv["drain"].get<double>(), length(v_star) / value_norm.mean(), kClose);
  EXPECT_NEAR(kv["drain_norm_factor"].get<double>(), length(star) / norms.mean(), kClose);
  EXPECT_NEAR(layer["cos_input"].get<double>(), cos_input.mean(), kClose);
}

TEST_F(AlignmentTest, MeansErrorsAndFactors) {
  const Json json = run("alignment");
  ASSERT_THAT(json["layers"], SizeIs(6));
  for (const Json& layer : json["layers"]) {
    ASSERT_THAT(layer["heads"], SizeIs(2));
    ASSERT_THAT(layer["kv_heads"], SizeIs(1));
    for (const char* key : {"cos_template", "logit_gap", "z"})
      EXPECT_NEAR(layer[key].get<double>(),
                  (layer["heads"][0][key].get<double>() + layer["heads"][1][key].get<double>()) / 2, 1e-12);
    EXPECT_NEAR(layer["drain"].get<double>(),
                layer["drain_norm_factor"].get<double>() * layer["drain_gain_factor"].get<double>(), 1e-12);
    for (const char* key : {"cos_template", "cos_other", "positive", "logit_gap", "drain", "contrast"})
      EXPECT_TRUE(layer[std::string(key) + "_se"].is_number()) << key;
    EXPECT_EQ(layer["template"], layer["layer"] >= 2 && layer["layer"] <= 4 ? "spikes" : "latest");
  }
  EXPECT_TRUE(json["logits_note"].is_null());
}

TEST_F(AlignmentTest, NeedsTheCheckpointOfTheDump) {
  Json json = run("alignment", false);
  EXPECT_EQ(json["applicable"], false);
  EXPECT_THAT(json["why"].get<std::string>(), HasSubstr("/nowhere/planted: no such file"));
  planted.with_norms = false;
  json = run("alignment", false);
  EXPECT_THAT(json["why"].get<std::string>(), HasSubstr("the dump does not hold what attention reads"));
}

TEST_F(AlignmentTest, WithoutOrdinaryTokens) {
  planted.lengths = {4, 1};
  planted.spikes.clear();
  const Json json = run("alignment");
  EXPECT_TRUE(json["layers"][2]["drain"].is_null());
  EXPECT_TRUE(json["layers"][2]["heads"][0]["cos_template"].is_null());
  EXPECT_EQ(json["verdict"]["verdict"], "not applicable");
  EXPECT_THAT(section().summary, HasSubstr("No window has ordinary tokens"));
}

TEST_F(AlignmentTest, SectionHasWholeFigures) {
  run("alignment");
  expect_whole_section({"alignment-keys", "alignment-logits", "alignment-heads", "alignment-values"});
}

}  // namespace
}  // namespace spikescope
