#include "scan/dimensions.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "stats/gumbel.h"

namespace spikescope {
namespace {

/// A spike is written before it is cancelled: of the two signs, the one that stands in the earlier blocks on average.
int sign_of(std::span<const BlockWrites> blocks, size_t dim) {
  double weight[2] = {0.0, 0.0}, depth[2] = {0.0, 0.0};
  for (size_t block = 0; block < blocks.size(); ++block)
    for (const NeuronWrite& neuron : blocks[block].neurons[dim]) {
      const size_t side = neuron.lean > 0.0;
      weight[side] += neuron.score * std::abs(neuron.lean);
      depth[side] += neuron.score * std::abs(neuron.lean) * static_cast<double>(block);
    }
  if (weight[0] == 0.0 && weight[1] == 0.0) return 0;
  if (weight[0] == 0.0 || weight[1] == 0.0) return weight[1] > 0.0 ? 1 : -1;
  return depth[1] / weight[1] <= depth[0] / weight[0] ? 1 : -1;
}

}  // namespace

std::vector<std::vector<double>> surprises(std::span<const BlockWrites> blocks) {
  std::vector<std::vector<double>> all;
  for (const BlockWrites& block : blocks) {
    std::vector<double> logs;
    for (const double bound : block.bounds) logs.push_back(std::log(bound));
    const Gumbel ordinary = fit_gumbel(logs);
    std::vector<double>& of_block = all.emplace_back();
    for (const double value : logs) of_block.push_back(ordinary.surprise(value));
  }
  return all;
}

std::vector<DimensionScore> score_dimensions(std::span<const BlockWrites> blocks) {
  if (blocks.empty()) return {};
  const std::vector<std::vector<double>> surprise = surprises(blocks);
  const size_t d = blocks.front().bounds.size();
  std::vector<DimensionScore> scores(d);
  for (size_t dim = 0; dim < d; ++dim) {
    DimensionScore& score = scores[dim];
    score.dim = static_cast<int64_t>(dim);
    double sum = 0.0;
    for (size_t block = 0; block < blocks.size(); ++block) {
      sum += surprise[block][dim];
      if (blocks[block].bounds[dim] > score.largest) {
        score.largest = blocks[block].bounds[dim];
        score.largest_block = static_cast<int>(block);
      }
    }
    score.log10_expected = log_probability_of_sum(static_cast<int64_t>(blocks.size()), sum) / std::numbers::ln10 +
                           std::log10(static_cast<double>(d));
    score.sign = sign_of(blocks, dim);
  }
  std::stable_sort(scores.begin(), scores.end(), [](const DimensionScore& a, const DimensionScore& b) {
    return a.log10_expected < b.log10_expected;
  });
  const double best = scores.front().log10_expected;
  for (DimensionScore& score : scores)
    score.leading = score.log10_expected <= std::log10(kMostExpected) && score.log10_expected <= kOfBest * best;
  return scores;
}

std::vector<NeuronWrite> rank_neurons(std::span<const BlockWrites> blocks, std::span<const DimensionScore> dimensions) {
  std::vector<NeuronWrite> neurons;
  for (size_t i = 0; i < dimensions.size(); ++i)
    if (i == 0 || dimensions[i].leading)
      for (const BlockWrites& block : blocks) {
        const auto& of_dim = block.neurons[static_cast<size_t>(dimensions[i].dim)];
        neurons.insert(neurons.end(), of_dim.begin(), of_dim.end());
      }
  std::stable_sort(neurons.begin(), neurons.end(),
                   [](const NeuronWrite& a, const NeuronWrite& b) { return a.score > b.score; });
  return neurons;
}

}  // namespace spikescope
