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

Templates::Templates(const DumpReader& dump, uint64_t seed, const std::function<void(double)>& progress)
    : dump_(dump), seed_(seed), states_(scan_residuals(dump, false, progress)) {
  sets_ = spike_sets(states_);
  dims_ = spike_dims(states_);
  ordinary_ = sample_ordinary(dump.tokens(), states_, seed);
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
      const TokenVectors states = read_random_first(dump_, residual_point(block));
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

std::vector<double> Templates::at(int64_t block) const {
  const HookPoint point = attention_input(dump_, block);
  TokenVectors vectors = read_vectors(dump_, point, template_tokens(sets_[static_cast<size_t>(block)]));
  const TokenVectors random = read_random_first(dump_, point);
  for (const int64_t i : random_[static_cast<size_t>(block)]) {
    vectors.values.insert(vectors.values.end(), random[i].begin(), random[i].end());
    vectors.offsets.push_back(vectors.offsets.back() + 1);
  }
  return vectors.mean();
}

TokenVectors Templates::ordinary(int64_t block) const {
  return read_vectors(dump_, attention_input(dump_, block), ordinary_);
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
          {"input", fmt::format("blocks.*.{}", attention_input(dump_, dump_.n_layers() - 1).kind().name)},
          {"plateaus", std::move(plateaus)}};
}

std::string missing_for_templates(const DumpReader& dump) {
  const std::string residual = missing_residual(dump);
  return residual.empty() ? missing_attention_input(dump) : residual;
}

std::string why_no_projections(const AnalysisInput& input) {
  if (const std::string missing = missing_for_templates(input.dump); !missing.empty())
    return "the dump has no " + missing;
  try {
    const Architecture& a = input.weights().architecture();
    if (a.latent)
      return "this model has latent attention (MLA): its keys and values come from a low rank with a norm in between, "
             "and "
             "are not linear in what the block reads";
    if (a.d_model != input.dump.d_model() || a.n_layers != input.dump.n_layers())
      return fmt::format("the checkpoint has {} blocks of width {}, the dump {} of width {}", a.n_layers, a.d_model,
                         input.dump.n_layers(), input.dump.d_model());
  } catch (const Error& error) {
    return std::string("it needs the checkpoint's weights: ") + error.what();
  }
  return {};
}

}  // namespace spikescope
