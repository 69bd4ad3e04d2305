#include "analyses/templates.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "model/weights.h"
#include "stats/quantile.h"

namespace spikescope {

std::vector<int64_t> spike_dims(std::span<const LayerScan> states) {
  std::vector<int64_t> dims(states.size(), -1);
  for (size_t l = 0; l < states.size(); ++l) {
    std::map<int64_t, int64_t> votes;
    for (const auto& window : states[l].spikes) {
      for (const TokenSpike& spike : window) ++votes[spike.dims[0].dim];
    }
    if (!votes.empty()) {
      const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
      dims[l] = std::max_element(votes.begin(), votes.end(), fewer)->first;
    } else if (l > 0) {
      dims[l] = dims[l - 1];
    }
  }
  for (size_t l = states.size() - 1; l-- > 0;) {
    if (dims[l] < 0) dims[l] = dims[l + 1];
  }
  return dims;
}

Templates::Templates(const AnalysisInput& input, const std::function<void(double)>& progress)
    : dump_(input.dump), inputs_(input), seed_(input.seed), states_(input.scan(false, progress)) {
  sets_ = spike_sets(states_);
  dims_ = spike_dims(states_);
  ordinary_ = sample_ordinary(dump_.tokens(), states_, seed_);
  choose_random_first();
}

void Templates::choose_random_first() {
  std::vector<int64_t> latest(static_cast<size_t>(dump_.random_first()));
  std::iota(latest.begin(), latest.end(), int64_t{0});
  for (int64_t block = 0; block < dump_.n_layers(); ++block) {
    const int64_t dim = spike_dim(block);
    std::vector<double> values;
    for (const auto& window : states_[static_cast<size_t>(block)].spikes) {
      for (const TokenSpike& spike : window) {
        for (const SpikeDim& one : spike.dims)
          if (spike.token == 0 && one.dim == dim) values.push_back(one.value);
      }
    }
    if (2 * static_cast<int64_t>(values.size()) > dump_.tokens().n_prompts() && dump_.random_first() > 0) {
      const double level = lower_median(std::move(values));
      const TokenVectors states = read_random_first(dump_, dumped(dump_, residual_point(block)));
      latest.clear();
      for (int64_t i = 0; i < states.size(); ++i)
        if (states[i][static_cast<size_t>(dim)] / level >= kDimShare) latest.push_back(i);
    }
    random_.push_back(latest);
  }
}

int64_t Templates::random_spikes(int64_t block) const {
  return static_cast<int64_t>(random_[static_cast<size_t>(block)].size());
}

TemplateVector Templates::at(int64_t block) const {
  const VectorSource source = inputs_.attention(block);
  TokenVectors vectors = read_vectors(dump_, source, template_tokens(sets_[static_cast<size_t>(block)]));
  const TokenVectors random = read_random_first(dump_, source);
  const int64_t groups = window_groups(vectors.n_prompts());
  std::vector<int64_t> group_of;  // [n]
  for (int64_t prompt = 0; prompt < vectors.n_prompts(); ++prompt)
    group_of.resize(static_cast<size_t>(vectors.offsets[static_cast<size_t>(prompt) + 1]), prompt % groups);
  for (const int64_t i : random_[static_cast<size_t>(block)]) {
    vectors.values.insert(vectors.values.end(), random[i].begin(), random[i].end());
    vectors.offsets.push_back(vectors.offsets.back() + 1);
    group_of.push_back(i % groups);
  }
  TemplateVector result{vectors.mean(), {}};
  if (groups < 2) return result;
  const auto d = static_cast<size_t>(vectors.d);
  for (int64_t group = 0; group < groups; ++group) {
    std::vector<double> mean(d);
    double count = 0.0;
    for (int64_t i = 0; i < vectors.size(); ++i) {
      if (group_of[static_cast<size_t>(i)] == group) continue;
      ++count;
      for (size_t k = 0; k < d; ++k) mean[k] += vectors[i][k];
    }
    for (double& value : mean) value /= count;  // NaN where no other group has any
    result.left_out.push_back(std::move(mean));
  }
  return result;
}

TokenVectors Templates::ordinary(int64_t block) const {
  return read_vectors(dump_, inputs_.attention(block), ordinary_);
}

const char* Templates::source(int64_t block) const {
  return most_have_spikes(sets_[static_cast<size_t>(block)]) ? "spikes" : "latest";
}

Json Templates::json() const {
  Json plateaus = Json::array();
  for (const Plateau& plateau : find_plateaus(states_))
    plateaus.push_back({{"first", plateau.first}, {"last", plateau.last}});
  return {{"seed", seed_},
          {"ordinary_from", kFirstOrdinary},
          {"ordinary_per_window", kOrdinaryTokens},
          {"input", fmt::format("blocks.*.{}", inputs_.attention(dump_.n_layers() - 1).point.kind().name)},
          {"plateaus", std::move(plateaus)}};
}

std::string missing_for_templates(const AnalysisInput& input) {
  const std::string residual = missing_residual(input.dump);
  return residual.empty() ? BlockInputs(input).missing() : "the dump has no " + residual;
}

std::string why_no_projections(const AnalysisInput& input) {
  if (std::string missing = missing_for_templates(input); !missing.empty()) return missing;
  return why_no_weights(input);
}

}  // namespace spikescope
