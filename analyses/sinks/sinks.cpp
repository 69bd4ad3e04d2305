#include "analyses/sinks/sinks.h"

#include <algorithm>
#include <cmath>
#include <limits>
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
#include "stats/jackknife.h"
#include "stats/moments.h"
#include "stats/window_mean.h"

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

void add_estimate(Json& json, const std::string& key, double value, double error) {
  json[key] = number_or_null(value);
  json[key + "_se"] = number_or_null(error);
}
void add_mean(Json& json, const std::string& key, const Moments& windows) {
  add_estimate(json, key, windows.mean(), windows.standard_error());
}
/// Null where no query has a bias.
void add_cosine(Json& json, const std::string& key, const BlockSinks& sinks, const std::vector<double>& queries) {
  constexpr double undefined = std::numeric_limits<double>::quiet_NaN();
  const bool any = std::any_of(sinks.biased_queries.begin(), sinks.biased_queries.end(), [](double n) { return n > 0; });
  const WindowMean cosine = any ? window_mean(sinks.cosine_sums, queries) : WindowMean{undefined, undefined};
  add_estimate(json, key, cosine.mean, cosine.standard_error);
}

Json block_json(const BlockSinks& sinks, const std::vector<SpikeSet>& sets, const LayerScan& state, int64_t block) {
  Moments set_size;
  Json heads = Json::array();
  for (size_t head = 0; head < sinks.alpha.size(); ++head) {
    Json row;
    add_mean(row, "alpha", sinks.alpha[head]);
    add_mean(row, "entropy", sinks.entropy[head]);
    heads.push_back(std::move(row));
  }
  int64_t present = 0;
  double spike = 0.0;
  for (size_t prompt = 0; prompt < sets.size(); ++prompt) {
    set_size.add(static_cast<double>(sets[prompt].tokens.size()));
    present += !sets[prompt].tokens.empty();
    for (const TokenSpike& token : state.spikes[prompt]) spike = std::max<double>(spike, std::abs(token.dims[0].value));
  }
  Json json = {{"block", block}};
  const SinkRate rate = sink_rate(std::span(&sinks.window_alpha, 1));
  add_estimate(json, "sink_rate", rate.rate.mean, rate.rate.standard_error);
  add_estimate(json, "mean_alpha", rate.alpha.mean, rate.alpha.standard_error);
  add_mean(json, "mass", sinks.mass);
  add_mean(json, "latest_mass", sinks.latest_mass);
  add_mean(json, "entropy", sinks.mean_entropy);
  add_mean(json, "bias_ratio", sinks.bias_ratio);
  add_cosine(json, "bias_cosine", sinks, sinks.queries);
  add_cosine(json, "bias_cosine_biased", sinks, sinks.biased_queries);
  json["spike_windows"] = present;
  add_mean(json, "set_size", set_size);
  json["spike"] = spike > 0.0 ? Json(spike) : Json(nullptr);
  json["heads"] = std::move(heads);
  return json;
}

/// Mean without one of the values; -1: of all.
double mean_without(const std::vector<double>& values, int64_t left_out) {
  Moments mean;
  for (size_t i = 0; i < values.size(); ++i)
    if (static_cast<int64_t>(i) != left_out) mean.add(values[i]);
  return mean.mean();
}

/// A statistic of all blocks with its jackknife error; `without(w)` computes it without window w, of -1 with all.
template <class Statistic>
void add_jackknife(Json& json, const std::string& key, size_t windows, const Statistic& without) {
  std::vector<double> left_out;
  for (size_t window = 0; window < windows; ++window) left_out.push_back(without(static_cast<int64_t>(window)));
  add_estimate(json, key, without(-1), jackknife_error(left_out));
}

/// What is known of all blocks together.
Json summary_json(const std::vector<BlockSinks>& blocks, const std::vector<std::vector<SpikeSet>>& sets) {
  // Spikes are present or not by all windows, also where one is left out.
  const auto mass_correlation = [&](int64_t left_out) {
    std::vector<double> mass, present;
    for (size_t block = 0; block < blocks.size(); ++block) {
      if (blocks[block].mass.count() == 0) continue;
      mass.push_back(mean_without(blocks[block].window_mass, left_out));
      present.push_back(most_have_spikes(sets[block]) ? 1.0 : 0.0);
    }
    return correlation(present, mass);
  };
  std::vector<WindowAlpha> alphas;
  for (const BlockSinks& block : blocks) alphas.push_back(block.window_alpha);
  const SinkRate sinks = sink_rate(alphas);
  Json json;
  add_estimate(json, "sink_rate", sinks.rate.mean, sinks.rate.standard_error);
  add_estimate(json, "mean_alpha", sinks.alpha.mean, sinks.alpha.standard_error);
  add_jackknife(json, "spike_mass_correlation", blocks.empty() ? 0 : blocks[0].window_mass.size(), mass_correlation);
  return json;
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
  return {{"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out"}, true, false};
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
  const std::vector<LayerScan>& states = input.scan(false, [&](double fraction) { progress(0.4 * fraction); });
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
