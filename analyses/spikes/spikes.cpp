#include "analyses/spikes/spikes.h"

#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/residual_scan.h"
#include "analyses/spikes/tracks.h"
#include "analyses/spikes/writers.h"
#include "io/hdf5.h"
#include "stats/spike_rule.h"

namespace spikescope {
namespace {

Json entries_json(std::span<const StateEntry> entries) {
  Json json = Json::array();
  for (const StateEntry& entry : entries)
    json.push_back({{"prompt", entry.prompt}, {"token", entry.token}, {"dim", entry.dim}, {"value", entry.value}});
  return json;
}

Json layers_json(std::span<const LayerScan> layers) {
  Json json = Json::array();
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerScan& layer = layers[l];
    Json row;
    row["layer"] = l;
    row["median"] = number_or_null(layer.median);
    row["max"] = layer.max();
    row["ratio"] = number_or_null(layer.max() / layer.median);
    row["top"] = entries_json(layer.top);
    row["prompt_top"] = entries_json(layer.prompt_top);
    row["published_rule_flags"] = layer.published_flags;
    row["published_rule_windows"] = layer.published_windows;
    int64_t tokens = 0;
    for (const auto& window : layer.spikes) tokens += static_cast<int64_t>(window.size());
    row["spike_tokens"] = tokens;
    row["spike_windows"] = layer.spike_windows();
    json.push_back(std::move(row));
  }
  return json;
}

Json spikes_json(std::span<const SpikeRun> runs, const DumpTokens& tokens) {
  Json json = Json::array();
  for (const SpikeRun& run : runs) {
    const auto row = static_cast<size_t>(tokens.offsets[static_cast<size_t>(run.prompt)] + run.token);
    json.push_back({{"prompt", run.prompt},
                    {"token", run.token},
                    {"string", row < tokens.strings.size() ? tokens.strings[row] : ""},
                    {"id", tokens.ids[row]},
                    {"dims", run.dims},
                    {"value", run.value},
                    {"birth", run.birth},
                    {"death", run.death < 0 ? Json(nullptr) : Json(run.death)},
                    {"peak", run.peak},
                    {"ratio", number_or_null(run.ratio)}});
  }
  return json;
}

Json plateaus_json(std::span<const Plateau> plateaus) {
  Json json = Json::array();
  for (const Plateau& plateau : plateaus) {
    int64_t first_tokens = 0;
    for (const auto& [prompt, token] : plateau.tokens) first_tokens += token == 0;
    json.push_back({{"first", plateau.first},
                    {"last", plateau.last},
                    {"dims", plateau.dims},
                    {"tokens", plateau.tokens.size()},
                    {"first_tokens", first_tokens},
                    {"windows", plateau.windows},
                    {"value", plateau.values[0]},
                    {"value_se", number_or_null(plateau.errors[0])},
                    {"values", plateau.values},
                    {"values_se", Json::array()}});
    for (const double error : plateau.errors) json.back()["values_se"].push_back(number_or_null(error));
  }
  return json;
}

Json writers_json(std::span<const Writer> writers) {
  Json json = Json::array();
  for (const Writer& writer : writers) {
    Json neurons = Json::array();
    for (const NeuronShare& neuron : writer.neurons)
      neurons.push_back(
          {{"index", neuron.index}, {"share", neuron.share}, {"share_se", number_or_null(neuron.error)}});
    json.push_back({{"block", writer.block},
                    {"dim", writer.dim},
                    {"mlp", writer.mlp.mean},
                    {"mlp_se", number_or_null(writer.mlp.standard_error)},
                    {"attention", writer.attention.mean},
                    {"attention_se", number_or_null(writer.attention.standard_error)},
                    {"effect", writer.cancels ? "cancels" : "writes"},
                    {"plateau", writer.plateau},
                    {"spikes", writer.spikes},
                    {"neurons", std::move(neurons)}});
  }
  return json;
}

void write_arrays(H5File& arrays, std::span<const LayerScan> layers) {
  const auto states = static_cast<int64_t>(layers.size());
  const auto prompts = static_cast<int64_t>(layers[0].window_median.size());
  const auto kept = static_cast<int64_t>(layers[0].top.size());
  std::vector<float> median, window_median, top_values;
  std::vector<double> p_values;
  std::vector<int64_t> top_places, spike_places;
  std::vector<float> spike_values;
  for (size_t l = 0; l < layers.size(); ++l) {
    median.push_back(layers[l].median);
    window_median.insert(window_median.end(), layers[l].window_median.begin(), layers[l].window_median.end());
    p_values.insert(p_values.end(), layers[l].window_p_value.begin(), layers[l].window_p_value.end());
    for (const StateEntry& entry : layers[l].top) {
      top_values.push_back(entry.value);
      top_places.insert(top_places.end(), {entry.prompt, entry.token, entry.dim});
    }
    for (size_t prompt = 0; prompt < layers[l].spikes.size(); ++prompt) {
      for (const TokenSpike& spike : layers[l].spikes[prompt]) {
        for (const SpikeDim& dim : spike.dims) {
          spike_places.insert(spike_places.end(),
                              {static_cast<int64_t>(l), static_cast<int64_t>(prompt), spike.token, dim.dim});
          spike_values.push_back(dim.value);
        }
      }
    }
  }
  arrays.write<float>("/layers/median", median);
  arrays.write<float>("/layers/window_median", std::vector<int64_t>{states, prompts},
                      std::span<const float>(window_median));
  arrays.write<double>("/layers/p_values", std::vector<int64_t>{states, prompts}, std::span<const double>(p_values));
  arrays.write<float>("/layers/top_values", std::vector<int64_t>{states, kept}, std::span<const float>(top_values));
  arrays.write<int64_t>("/layers/top_places", std::vector<int64_t>{states, kept, 3},
                        std::span<const int64_t>(top_places));
  if (spike_values.empty()) return;
  arrays.write<float>("/spikes/values", spike_values);
  arrays.write<int64_t>("/spikes/places", std::vector<int64_t>{static_cast<int64_t>(spike_values.size()), 4},
                        std::span<const int64_t>(spike_places));
}

}  // namespace

Needs spikes_needs() { return {{"blocks.0.resid_pre", "blocks.*.resid_post"}, false, true}; }

Json run_spikes(const AnalysisInput& input, H5File& arrays) {
  const std::string missing = missing_residual(input.dump);
  if (!missing.empty()) return {{"applicable", false}, {"why", "the dump has no " + missing}};

  const std::vector<LayerScan>& layers = input.scan(true, input.progress);
  const std::vector<Plateau> plateaus = find_plateaus(layers);
  const Writers writers = find_writers(input, plateaus);
  write_arrays(arrays, layers);

  Json json;
  json["false_positive_rate"] = kFalsePositiveRate;
  json["layers"] = layers_json(layers);
  json["spikes"] = spikes_json(spike_runs(layers), input.dump.tokens());
  json["plateaus"] = plateaus_json(plateaus);
  json["writers"] = writers_json(writers.rows);
  json["writers_note"] = writers.note.empty() ? Json(nullptr) : Json(writers.note);
  return json;
}

}  // namespace spikescope
