#include "analyses/templates.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "model/weights.h"

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
}

std::vector<double> Templates::at(int64_t block) const {
  return read_vectors(dump_, attention_input(dump_, block), template_tokens(sets_[static_cast<size_t>(block)])).mean();
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
          {"input", attention_input(dump_, dump_.n_layers() - 1).name()},
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
