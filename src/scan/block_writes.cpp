#include "scan/block_writes.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/parallel.h"
#include "scan/neuron_reach.h"
#include "stats/quantile.h"
#include "stats/top_k.h"

namespace spikescope {
namespace {

struct MlpKeys {
  WeightKey gate, up, down;
  double weight = 1.0;  ///< largest factor on its output
  int expert = -1;
};

std::vector<MlpKeys> mlps_of(const Architecture& a, int block) {
  if (!a.blocks[static_cast<size_t>(block)].experts)
    return {{{Role::w_gate, block}, {Role::w_up, block}, {Role::w_down, block}}};
  std::vector<MlpKeys> mlps;
  if (a.experts.shared_width > 0)
    mlps.push_back(
        {{Role::shared_gate, block}, {Role::shared_up, block}, {Role::shared_down, block}, 1.0, kSharedExpert});
  for (int expert = 0; expert < a.experts.count; ++expert)
    mlps.push_back({{Role::expert_gate, block, expert},
                    {Role::expert_up, block, expert},
                    {Role::expert_down, block, expert},
                    a.experts.scale,
                    expert});
  return mlps;
}

std::vector<float> read(const ModelWeights& weights, const WeightKey& key) {
  if (!weights.has(key.role, key.layer)) return {};
  const auto [rows, columns] = weights.shape(key.role);
  std::vector<float> values(static_cast<size_t>(rows * columns));
  weights.read_rows(key, 0, rows, values.data());
  return values;
}

std::vector<float> norm_gain(const ModelWeights& weights, Role role, int block) {
  std::vector<float> gain = weights.read(role, block).values;
  if (weights.architecture().norm_gain_offset)
    for (float& value : gain) value += 1.0f;
  return gain;
}

MlpInput mlp_input(const ModelWeights& weights, const MlpKeys& mlp, int block) {
  const Architecture& a = weights.architecture();
  MlpInput input;
  input.d = a.d_model;
  input.activation = a.activation;
  input.gate = read(weights, mlp.gate);
  input.up = read(weights, mlp.up);
  if (mlp.expert == -1) {
    input.gate_bias = weights.read(Role::b_gate, block).values;
    input.up_bias = weights.read(Role::b_up, block).values;
  }
  if (a.norms_before()) {
    const bool own = a.has_ln2();
    input.gain = norm_gain(weights, own ? Role::ln2 : Role::ln1, block);
    input.shift = weights.read(own ? Role::ln2_bias : Role::ln1_bias, block).values;
    input.centered = a.norm == NormKind::layer;
  }
  return input;
}

struct HigherScore {
  bool operator()(const NeuronWrite& a, const NeuronWrite& b) const {
    return std::pair(-a.score, std::pair(a.expert, a.index)) < std::pair(-b.score, std::pair(b.expert, b.index));
  }
};

/// Adds an MLP's neurons, with scores that still lack the block's ordinary bound, and the largest bound of each.
void add_mlp(const ModelWeights& weights, const MlpKeys& mlp, int block, const std::vector<double>& factor,
             std::vector<double>& bounds, std::vector<TopK<NeuronWrite, HigherScore>>& kept,
             std::vector<double>& largest) {
  const Architecture& a = weights.architecture();
  const std::vector<NeuronReach> reaches = neuron_reaches(mlp_input(weights, mlp, block));
  const std::vector<float> down = read(weights, mlp.down);
  const size_t d = bounds.size(), width = reaches.size();
  // Lengths of a neuron's column of W_down, as it is and with the factors on it.
  std::vector<double> plain(width), scaled(width), peak(width), write(width);
  for (size_t dim = 0; dim < d; ++dim)
    for (size_t j = 0; j < width; ++j) {
      const double weight = down[dim * width + j], with_factor = weight * factor[dim];
      plain[j] += weight * weight;
      scaled[j] += with_factor * with_factor;
      peak[j] = std::max(peak[j], std::abs(with_factor));
    }
  for (size_t j = 0; j < width; ++j) {
    const double alone = plain[j] > 0.0 ? std::sqrt(static_cast<double>(a.d_model) / plain[j]) : 0.0;
    write[j] = a.norms_of_branch() ? alone : mlp.weight * reaches[j].largest();
    scaled[j] = std::sqrt(scaled[j]);
    largest.push_back(peak[j] * write[j]);
  }
  parallel_for(static_cast<int64_t>(d), [&](int64_t dim) {
    const auto row = static_cast<size_t>(dim);
    for (size_t j = 0; j < width; ++j) {
      const double weight = down[row * width + j] * factor[row], bound = std::abs(weight) * write[j];
      if (bound == 0.0) continue;
      bounds[row] = std::max(bounds[row], bound);
      const double share = std::abs(weight) / scaled[j];
      kept[row].add({block, mlp.expert, static_cast<int64_t>(j), dim, bound, share,
                     std::copysign(1.0, weight) * reaches[j].lean(), bound * share});
    }
  });
}

}  // namespace

std::string why_no_bounds(const Architecture& a) {
  if (a.norm_places == NormPlaces::after)
    return "a norm stands after every addition to the residual stream, so that nothing can grow in it";
  return "";
}

BlockWrites block_writes(const ModelWeights& weights, int block) {
  const Architecture& a = weights.architecture();
  const auto d = static_cast<size_t>(a.d_model);
  std::vector<double> factor(d, 1.0);
  if (a.layer_scale) {
    const std::vector<float> scale = weights.read(Role::ln2_scale, block).values;
    factor.assign(scale.begin(), scale.end());
  } else if (a.norms_of_branch()) {
    const std::vector<float> gain = norm_gain(weights, Role::ln2_post, block);
    factor.assign(gain.begin(), gain.end());
  }
  BlockWrites writes;
  writes.bounds.resize(d);
  std::vector<TopK<NeuronWrite, HigherScore>> kept(d, TopK<NeuronWrite, HigherScore>(kNeuronsKept));
  std::vector<double> largest;
  for (const MlpKeys& mlp : mlps_of(a, block)) add_mlp(weights, mlp, block, factor, writes.bounds, kept, largest);
  writes.ordinary = lower_median(std::move(largest));
  for (const auto& neurons : kept) {
    writes.neurons.push_back(neurons.items());
    for (NeuronWrite& neuron : writes.neurons.back())
      neuron.score = writes.ordinary > 0.0 ? neuron.score / writes.ordinary : 0.0;
  }
  return writes;
}

}  // namespace spikescope
