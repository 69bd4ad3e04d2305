#include "analyses/sinks/sinks.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/residual_scan.h"
#include "analyses/sinks/block_sinks.h"
#include "analyses/sinks/maps.h"
#include "analyses/spike_sets.h"
#include "analyses/spikes/tracks.h"
#include "base/error.h"
#include "io/hdf5.h"
#include "stats/correlation.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

/// W_O of the blocks, if the checkpoint is there and the dump has what else the implicit bias needs.
class OutputWeights {
 public:
  OutputWeights(const AnalysisInput& input) : dump_(input.dump) {
    try {
      if (input.weights) weights_ = &input.weights();
      if (!weights_) note_ = "the implicit bias needs the checkpoint's weights";
    } catch (const Error& error) {
      note_ = std::string("the implicit bias needs the checkpoint's weights: ") + error.what();
    }
  }

  /// Empty where the bias cannot be computed; note() says why.
  Weight read(int64_t block, const SinkStatistics& sinks) {
    const int layer = static_cast<int>(block);
    if (!weights_) return {};
    if (!dump_.has({Point::attn_out, layer}) || !weights_->has(Role::w_o, layer)) {
      note_ = "the implicit bias needs attn_out in the dump and W_O in the checkpoint";
      return {};
    }
    Weight w_o = weights_->read(Role::w_o, layer);
    if (w_o.rows == dump_.d_model() && w_o.columns == sinks.heads * sinks.head_dim) return w_o;
    note_ = "W_O of the checkpoint has another shape than the dump's attention";
    return {};
  }
  const std::string& note() const { return note_; }

 private:
  const DumpReader& dump_;
  const ModelWeights* weights_ = nullptr;
  std::string note_;
};

Json mean_or_null(double sum, int64_t count) {
  return count > 0 ? Json(sum / static_cast<double>(count)) : Json(nullptr);
}

Json block_json(const BlockSinks& sinks, const std::vector<SpikeSet>& sets, const LayerScan& state, int64_t block) {
  Moments entropy, set_size;
  Json heads = Json::array();
  for (size_t head = 0; head < sinks.alpha.size(); ++head) {
    entropy.add(sinks.entropy[head].mean());
    heads.push_back({{"alpha", number_or_null(sinks.alpha[head].mean())},
                     {"alpha_se", number_or_null(sinks.alpha[head].standard_error())},
                     {"entropy", number_or_null(sinks.entropy[head].mean())}});
  }
  int64_t present = 0;
  double spike = 0.0;
  for (size_t prompt = 0; prompt < sets.size(); ++prompt) {
    set_size.add(static_cast<double>(sets[prompt].tokens.size()));
    present += !sets[prompt].tokens.empty();
    for (const TokenSpike& token : state.spikes[prompt]) spike = std::max<double>(spike, std::abs(token.dims[0].value));
  }
  return {{"block", block},
          {"mass", number_or_null(sinks.mass.mean())},
          {"mass_se", number_or_null(sinks.mass.standard_error())},
          {"latest_mass", number_or_null(sinks.latest_mass.mean())},
          {"entropy", number_or_null(entropy.mean())},
          {"bias_ratio", number_or_null(sinks.bias_ratio.mean())},
          {"bias_ratio_se", number_or_null(sinks.bias_ratio.standard_error())},
          {"bias_cosine", mean_or_null(sinks.cosine_sum, sinks.biased_queries > 0 ? sinks.queries : 0)},
          {"bias_cosine_biased", mean_or_null(sinks.cosine_sum, sinks.biased_queries)},
          {"spike_windows", present},
          {"set_size", number_or_null(set_size.mean())},
          {"spike", spike > 0.0 ? Json(spike) : Json(nullptr)},
          {"heads", std::move(heads)}};
}

/// What is known of all blocks together.
Json summary_json(const std::vector<BlockSinks>& blocks, const std::vector<std::vector<SpikeSet>>& sets) {
  Moments alpha, above;
  std::vector<double> mass, present;
  for (size_t block = 0; block < blocks.size(); ++block) {
    for (const Moments& head : blocks[block].alpha) {
      if (head.count() == 0) continue;
      alpha.add(head.mean());
      above.add(head.mean() > kSinkAlpha);
    }
    if (blocks[block].mass.count() == 0) continue;
    mass.push_back(blocks[block].mass.mean());
    present.push_back(most_have_spikes(sets[block]) ? 1.0 : 0.0);
  }
  return {{"sink_rate", number_or_null(above.mean())},
          {"mean_alpha", number_or_null(alpha.mean())},
          {"spike_mass_correlation", number_or_null(correlation(present, mass))}};
}

void write_arrays(H5File& arrays, const std::vector<BlockSinks>& blocks, const std::vector<Plateau>& plateaus) {
  const auto heads = static_cast<int64_t>(blocks[0].alpha.size()),
             rows = static_cast<int64_t>(blocks[0].received.size());
  std::vector<double> alpha, entropy;
  std::vector<float> received;
  for (const BlockSinks& block : blocks) {
    for (const Moments& head : block.alpha) alpha.push_back(head.mean());
    for (const Moments& head : block.entropy) entropy.push_back(head.mean());
    received.insert(received.end(), block.received.begin(), block.received.end());
  }
  const auto n = static_cast<int64_t>(blocks.size());
  arrays.write<double>("/alpha", std::vector<int64_t>{n, heads}, std::span<const double>(alpha));
  arrays.write<double>("/entropy", std::vector<int64_t>{n, heads}, std::span<const double>(entropy));
  arrays.write<float>("/received", std::vector<int64_t>{n, rows}, std::span<const float>(received));
  std::vector<int64_t> members;
  for (size_t k = 0; k < plateaus.size(); ++k) {
    for (const auto& [prompt, token] : plateaus[k].tokens)
      members.insert(members.end(), {static_cast<int64_t>(k), prompt, token});
  }
  if (members.empty()) return;
  arrays.write<int64_t>("/plateau_tokens", std::vector<int64_t>{static_cast<int64_t>(members.size() / 3), 3},
                        std::span<const int64_t>(members));
}

}  // namespace

Needs sinks_needs() {
  return {{"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out", "blocks.*.ln1.out"}, true, false};
}

Json run_sinks(const AnalysisInput& input, H5File& arrays) {
  const DumpReader& dump = input.dump;
  if (!dump.has_sinks()) {
    return {{"applicable", false}, {"why", "the dump has no sink statistics (capture them with --sinks)"}};
  }
  const std::string missing = missing_residual(dump);
  if (!missing.empty()) return {{"applicable", false}, {"why", "the dump has no " + missing}};

  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  const std::vector<LayerScan> states = scan_residuals(dump, false, [&](double fraction) { progress(0.4 * fraction); });
  const std::vector<std::vector<SpikeSet>> sets = spike_sets(states);
  int64_t first_query = 1, too_short = 0;
  for (int64_t prompt = 0; prompt < dump.tokens().n_prompts(); ++prompt) {
    if (dump.tokens().length(prompt) > SinkStatistics::kLateQuery) first_query = SinkStatistics::kLateQuery;
  }
  for (int64_t prompt = 0; prompt < dump.tokens().n_prompts(); ++prompt) {
    too_short += dump.tokens().length(prompt) <= first_query;
  }

  OutputWeights weights(input);
  std::vector<BlockSinks> blocks;
  Json layers = Json::array();
  for (int64_t block = 0; block < dump.n_layers(); ++block) {
    const auto index = static_cast<size_t>(block);
    const SinkStatistics sinks = dump.sinks(block);
    blocks.push_back(measure_block(dump, sinks, weights.read(block, sinks), sets[index], block, first_query));
    layers.push_back(block_json(blocks.back(), sets[index], states[index], block));
    progress(0.4 + 0.6 * static_cast<double>(block + 1) / static_cast<double>(dump.n_layers()));
  }
  const std::vector<Plateau> plateaus = find_plateaus(states);
  write_arrays(arrays, blocks, plateaus);

  Json json = summary_json(blocks, sets);
  json["mass_from_query"] = first_query;
  json["windows_too_short"] = too_short;
  json["bias_note"] = weights.note().empty() ? Json(nullptr) : Json(weights.note());
  json["plateaus"] = Json::array();
  for (const Plateau& plateau : plateaus)
    json["plateaus"].push_back({{"first", plateau.first}, {"last", plateau.last}});
  json["layers"] = std::move(layers);
  json.update(write_maps(input, sets, plateaus, arrays));
  return json;
}

}  // namespace spikescope
