#include "model/router.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace spikescope {
namespace {

/// Indices of the `count` largest of `values`, the largest first.
std::vector<int64_t> largest(const std::vector<double>& values, int64_t count) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
    const double x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

std::vector<double> scores_of(const Experts& e, const float* logits) {
  std::vector<double> scores(logits, logits + e.count);
  if (e.sigmoid) {
    for (double& score : scores) score = 1.0 / (1.0 + std::exp(-score));
    return scores;
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - most);
  for (double& score : scores) score /= sum;
  return scores;
}

/// Leaves the best groups alone: the score of an expert in another one becomes 0, which is below any score by softmax
/// or sigmoid.
void keep_best_groups(const Experts& e, std::vector<double>& scores) {
  if (e.groups <= 1) return;
  const int64_t size = e.count / e.groups;
  std::vector<double> group_scores;
  for (int64_t group = 0; group < e.groups; ++group) {
    const std::vector<double> members(scores.begin() + group * size, scores.begin() + (group + 1) * size);
    double sum = 0.0;
    for (const int64_t i : largest(members, std::min(e.group_best, size))) sum += members[static_cast<size_t>(i)];
    group_scores.push_back(sum);
  }
  const std::vector<int64_t> kept = largest(group_scores, e.groups_per_token);
  for (int64_t group = 0; group < e.groups; ++group)
    if (std::find(kept.begin(), kept.end(), group) == kept.end())
      std::fill(scores.begin() + group * size, scores.begin() + (group + 1) * size, 0.0);
}

}  // namespace

void choose_experts(const Experts& e, const float* logits, const float* bias, int64_t* indices, float* weights) {
  const std::vector<double> scores = scores_of(e, logits);
  std::vector<double> choice = scores;
  for (int64_t i = 0; bias && i < e.count; ++i) choice[static_cast<size_t>(i)] += bias[i];
  keep_best_groups(e, choice);
  const std::vector<int64_t> chosen = largest(choice, e.per_token);
  double sum = 0.0;
  for (const int64_t i : chosen) sum += scores[static_cast<size_t>(i)];
  const double factor = e.scale / (e.normalized ? sum + 1e-20 : 1.0);
  for (int64_t i = 0; i < e.per_token; ++i) {
    indices[i] = chosen[static_cast<size_t>(i)];
    weights[i] = static_cast<float>(scores[static_cast<size_t>(indices[i])] * factor);
  }
}

}  // namespace spikescope
