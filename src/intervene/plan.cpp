#include "intervene/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "stats/sample.h"

namespace spikescope {
namespace {

/// `count` numbers of 0 .. size - 1 without those of `left_out`, ascending.
std::vector<int64_t> draw(int64_t size, size_t count, const std::vector<int64_t>& left_out, std::mt19937_64& random) {
  std::vector<int64_t> candidates;
  for (int64_t i = 0; i < size; ++i)
    if (std::find(left_out.begin(), left_out.end(), i) == left_out.end()) candidates.push_back(i);
  std::vector<int64_t> drawn =
      sample_without_replacement(std::ssize(candidates), static_cast<int64_t>(count), random(), 0);
  for (int64_t& one : drawn) one = candidates[static_cast<size_t>(one)];
  return drawn;
}

std::vector<int64_t> sorted(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

/// The largest dimensions of the spike tokens of a state, by their mean |h|, after `left_out`.
std::vector<int64_t> next_dims(const DumpReader& dump, int64_t state, const LayerScan& layer,
                               const std::vector<int64_t>& left_out) {
  const auto d = static_cast<size_t>(dump.d_model());
  std::vector<double> sums(d);
  for (int64_t window = 0; window < dump.tokens().n_prompts(); ++window) {
    const auto& spikes = layer.spikes[static_cast<size_t>(window)];
    if (spikes.empty()) continue;
    const std::vector<float> values = dump.residual(state, window);
    for (const TokenSpike& spike : spikes)
      for (size_t dim = 0; dim < d; ++dim) sums[dim] += std::abs(values[static_cast<size_t>(spike.token) * d + dim]);
  }
  for (const int64_t dim : left_out) sums[static_cast<size_t>(dim)] = -1.0;
  std::vector<int64_t> order(d);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return sums[static_cast<size_t>(a)] > sums[static_cast<size_t>(b)]; });
  order.resize(std::min(kNextDims, d - left_out.size()));
  return sorted(order);
}

/// Neurons that write the plateau, by block.
std::map<int64_t, std::vector<int64_t>> writing_neurons(std::span<const Writer> writers, int64_t plateau) {
  std::map<int64_t, std::set<int64_t>> by_block;
  for (const Writer& writer : writers) {
    if (writer.plateau != plateau || writer.cancels) continue;
    double share = 0.0;
    for (const NeuronShare& neuron : writer.neurons) {
      if (share >= kWrittenShare || neuron.share <= 0.0) break;
      by_block[writer.block].insert(neuron.index);
      share += neuron.share;
    }
  }
  std::map<int64_t, std::vector<int64_t>> neurons;
  for (const auto& [block, indices] : by_block) neurons[block] = {indices.begin(), indices.end()};
  return neurons;
}

Edit neurons_off(int64_t block, std::vector<int64_t> neurons) {
  return {
      .point = Point::mlp_post, .first = block, .last = block, .tokens = EditTokens::all, .dims = std::move(neurons)};
}

/// The runs of one plateau, which blocks `first` to `last` read.
class PlateauPlan {
 public:
  PlateauPlan(int64_t index, const Plateau& plateau, int64_t last, std::vector<InterventionRun>& runs)
      : index_(index), plateau_(plateau), last_(last), dims_(sorted(plateau.dims)), runs_(runs) {}

  Edit at_first(Change change, std::vector<int64_t> dims, EditTokens tokens = EditTokens::spikes) const {
    return {
        .change = change, .first = plateau_.first, .last = plateau_.first, .tokens = tokens, .dims = std::move(dims)};
  }

  void add(const std::string& what, std::vector<Edit> edits, bool control = false) {
    if (edits.empty()) return;
    runs_.push_back({fmt::format("{}, {}", what, states_text(plateau_.first, plateau_.last)), what, index_, control,
                     std::move(edits)});
  }

  void values(const DumpReader& dump, const LayerScan& first, std::mt19937_64& random) {
    add("zero", {at_first(Change::zero, dims_)});
    add("mean", {at_first(Change::mean, dims_)});
    for (const double share : kClamps) {
      Edit clamp = at_first(Change::clamp, dims_);
      clamp.last = last_;
      clamp.value = share * std::abs(plateau_.values[0]);
      add(fmt::format("clamp to {:g} %", 100.0 * share), {clamp});
    }
    add("random dimensions",
        {at_first(Change::zero, draw(dump.d_model(), std::max(kRandomDims, dims_.size()), dims_, random))}, true);
    add("next dimensions", {at_first(Change::zero, next_dims(dump, plateau_.first, first, dims_))}, true);
    add("ordinary tokens", {at_first(Change::zero, dims_, EditTokens::ordinary)}, true);
  }

  void neurons(std::span<const Writer> writers, int64_t width, std::mt19937_64& random) {
    std::vector<Edit> off, others;
    for (const auto& [block, neurons] : writing_neurons(writers, index_)) {
      off.push_back(neurons_off(block, neurons));
      others.push_back(neurons_off(block, draw(width, neurons.size(), neurons, random)));
    }
    add("writers off", off);
    add("random neurons off", others, true);
  }

 private:
  const int64_t index_;
  const Plateau& plateau_;
  const int64_t last_;
  const std::vector<int64_t> dims_;
  std::vector<InterventionRun>& runs_;
};

/// Spike dimensions of all plateaus to zero in every spike token from the first plateau on, and templates in their
/// place: after a plateau, too, where what would cancel the spikes now has nothing to cancel.
void add_everywhere(const Architecture& architecture, std::span<const Plateau> plateaus,
                    const std::vector<size_t>& chosen, std::vector<InterventionRun>& runs) {
  std::vector<Edit> zero, with_template;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Plateau& plateau = plateaus[chosen[i]];
    const int64_t last = (i + 1 < chosen.size() ? plateaus[chosen[i + 1]].first : architecture.n_layers) - 1;
    zero.push_back({.first = plateau.first, .last = last, .dims = sorted(plateau.dims)});
    with_template.push_back(zero.back());
    if (!architecture.norms_before()) continue;
    for (const Point norm : {Point::ln1_out, Point::ln2_out})
      if (has_point(architecture, {norm, static_cast<int>(last)}))
        with_template.push_back({.change = Change::mean, .point = norm, .first = plateau.first, .last = last});
  }
  runs.push_back({"zero everywhere", "zero everywhere", std::nullopt, false, zero});
  if (architecture.norms_before())
    runs.push_back({"templates inserted", "templates inserted", std::nullopt, false, with_template});
}

}  // namespace

std::string states_text(int64_t first, int64_t last) {
  return first == last ? fmt::format("r{}", first) : fmt::format("r{} to r{}", first, last);
}

std::vector<InterventionRun> default_plan(const DumpReader& dump, const Architecture& architecture,
                                          std::span<const LayerScan> layers, std::span<const Plateau> plateaus,
                                          std::span<const Writer> writers, std::mt19937_64& random) {
  std::vector<size_t> chosen;
  for (size_t k = 0; k < plateaus.size(); ++k)
    if (plateaus[k].first < architecture.n_layers) chosen.push_back(k);
  if (chosen.size() > kMostPlateaus) {
    std::stable_sort(chosen.begin(), chosen.end(), [&](size_t a, size_t b) {
      return std::abs(plateaus[a].values[0]) > std::abs(plateaus[b].values[0]);
    });
    chosen.resize(kMostPlateaus);
    std::sort(chosen.begin(), chosen.end());
  }
  std::vector<InterventionRun> runs;
  for (const size_t k : chosen) {
    const Plateau& plateau = plateaus[k];
    PlateauPlan plan(static_cast<int64_t>(k), plateau, std::min(plateau.last, architecture.n_layers - 1), runs);
    plan.values(dump, layers[static_cast<size_t>(plateau.first)], random);
    plan.neurons(writers, architecture.mlp_width, random);
  }
  if (!chosen.empty()) add_everywhere(architecture, plateaus, chosen, runs);
  return runs;
}

}  // namespace spikescope
