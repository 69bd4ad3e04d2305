#include "intervene/intervene.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "analyses/analysis.h"
#include "analyses/interventions/verdict.h"
#include "analyses/labels.h"
#include "analyses/residual_scan.h"
#include "analyses/sinks/block_sinks.h"
#include "base/fail.h"
#include "intervene/placing.h"
#include "model/language_model.h"
#include "model/runner.h"
#include "stats/moments.h"
#include "stats/window_mean.h"

namespace spikescope {
namespace {

/// Of a normal distribution 95 % lie within so many standard deviations.
constexpr double kNormal95 = 1.96;

/// What one block's attention goes to.
struct BlockAttention {
  WindowAlpha alpha;  ///< on the first token
  Moments spikes;     ///< over windows: on the baseline's spike tokens of this block, or the latest before
};

/// What a pass leaves.
struct PassResult {
  std::vector<double> sums, first;  ///< [windows] loss of all positions, and of position 0, in nats
  std::vector<BlockAttention> blocks;
};

class AttentionObserver : public PassObserver {
 public:
  AttentionObserver(const DumpReader& dump, const std::vector<std::vector<SpikeSet>>& sets, int64_t first_query,
                    std::vector<BlockAttention>& blocks, std::function<void(double)> progress)
      : dump_(dump), sets_(sets), first_query_(first_query), blocks_(blocks), progress_(std::move(progress)) {}

  bool wants_sinks() const override { return true; }
  void sinks(int layer, SinkStatistics statistics) override {
    const auto index = static_cast<size_t>(layer);
    BlockSinks measured = measure_block(dump_, statistics, {}, sets_[index], layer, first_query_);
    blocks_[index] = {std::move(measured.window_alpha), measured.latest_mass};
  }
  void progress(double fraction) override { progress_(fraction); }

 private:
  const DumpReader& dump_;
  const std::vector<std::vector<SpikeSet>>& sets_;
  const int64_t first_query_;
  std::vector<BlockAttention>& blocks_;
  const std::function<void(double)> progress_;
};

/// Passes over the prompts of a dump.
class Passes {
 public:
  Passes(const Checkpoint& checkpoint, const DumpReader& dump, std::span<const LayerScan> layers)
      : checkpoint_(checkpoint),
        dump_(dump),
        batch_{dump.tokens().ids, dump.tokens().offsets},
        sets_(spike_sets(layers)) {
    for (int64_t window = 0; window < dump.tokens().n_prompts(); ++window) {
      const int64_t length = dump.tokens().length(window);
      counts_.push_back(static_cast<double>(length - 1));
      if (length > SinkStatistics::kLateQuery) first_query_ = SinkStatistics::kLateQuery;
    }
  }

  /// Predicted positions of each window.
  const std::vector<double>& counts() const { return counts_; }

  /// From block `first` on; what comes before is that of `before`.
  PassResult run(const Hooks& hooks, int64_t first, const PassResult* before, std::function<void(double)> progress) {
    PassResult result;
    result.blocks = before ? before->blocks : std::vector<BlockAttention>(static_cast<size_t>(dump_.n_layers()));
    AttentionObserver observer(dump_, sets_, first_query_, result.blocks, std::move(progress));
    RunOptions options;
    options.losses = true;
    // A state that was rounded for the dump is not where this pass would be.
    if (first > 0 && before && dump_.info().storage == "float32") {
      options.first_layer = static_cast<int>(first);
      options.residual = state(first);
    }
    const std::vector<float> losses = run_model(checkpoint_.weights(), batch_, hooks, observer, options).losses;
    for (size_t window = 0; window < counts_.size(); ++window) {
      const auto begin = losses.begin() + dump_.tokens().offsets[window];
      double sum = 0.0;
      std::for_each(begin, begin + static_cast<int64_t>(counts_[window]), [&](float loss) { sum += loss; });
      result.sums.push_back(sum);
      result.first.push_back(counts_[window] > 0 ? *begin : 0.0);
    }
    return result;
  }

 private:
  std::vector<float> state(int64_t layer) const {
    std::vector<float> all;
    all.reserve(batch_.ids.size() * static_cast<size_t>(dump_.d_model()));
    for (int64_t window = 0; window < dump_.tokens().n_prompts(); ++window) {
      const std::vector<float> rows = dump_.residual(layer, window);
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
  }

  const Checkpoint& checkpoint_;
  const DumpReader& dump_;
  const TokenBatch batch_;
  const std::vector<std::vector<SpikeSet>> sets_;
  std::vector<double> counts_;
  int64_t first_query_ = 1;
};

/// The pass without any change, which also gives the edits their means.
PassResult run_baseline(Passes& passes, std::vector<std::vector<PlacedEdit>>& placed,
                        std::function<void(double)> progress) {
  std::vector<MeanCollector> means;
  for (std::vector<PlacedEdit>& edits : placed)
    for (PlacedEdit& edit : edits)
      if (edit.edit.change == Change::mean) means.emplace_back(edit);
  Hooks hooks;
  for (MeanCollector& mean : means) mean.attach(hooks);
  PassResult result = passes.run(hooks, 0, nullptr, std::move(progress));
  for (MeanCollector& mean : means) mean.finish();
  return result;
}

/// The pass with the edits; the baseline's where they change nothing.
PassResult run_edits(Passes& passes, const std::vector<PlacedEdit>& edits, const PassResult& baseline,
                     std::function<void(double)> progress) {
  Hooks hooks;
  std::optional<int64_t> first;
  for (const PlacedEdit& edit : edits) {
    if (!edit.has_rows()) continue;
    edit.attach(hooks);
    first = std::min(first.value_or(edit.edit.first), edit.edit.first);
  }
  return first ? passes.run(hooks, *first, &baseline, std::move(progress)) : baseline;
}

std::vector<double> minus(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

void add_mean(Json& json, const std::string& key, const WindowMean& mean) {
  json[key] = number_or_null(mean.mean);
  json[key + "_se"] = number_or_null(mean.standard_error);
}

Json pass_json(const PassResult& pass, const std::vector<double>& counts) {
  std::vector<double> ones;
  for (const double count : counts) ones.push_back(count > 0 ? 1.0 : 0.0);
  const WindowMean loss = window_mean(pass.sums, counts);
  Json json = {{"loss", number_or_null(loss.mean)}, {"se", number_or_null(loss.standard_error)}};
  // Of exp(loss) the error is exp(loss) times that of the loss, where this is small; the interval holds in any case.
  const auto perplexity_at = [&](double errors) { return std::exp(loss.mean + errors * loss.standard_error); };
  add_mean(json, "perplexity", {std::exp(loss.mean), std::exp(loss.mean) * loss.standard_error});
  json["perplexity_interval"] = {number_or_null(perplexity_at(-kNormal95)), number_or_null(perplexity_at(kNormal95))};
  add_mean(json, "loss_position0", window_mean(pass.first, ones));
  add_mean(json, "loss_without_position0", window_mean(minus(pass.sums, pass.first), minus(counts, ones)));
  std::vector<WindowAlpha> alphas;
  for (const BlockAttention& block : pass.blocks) alphas.push_back(block.alpha);
  const SinkRate sinks = sink_rate(alphas);
  add_mean(json, "sinks", sinks.rate);
  add_mean(json, "mean_alpha", sinks.alpha);
  for (const char* key : {"alpha", "alpha_se", "spike_attention", "spike_attention_se"}) json[key] = Json::array();
  for (const BlockAttention& block : pass.blocks) {
    const WindowMean alpha = sink_rate(std::span(&block.alpha, 1)).alpha;
    json["alpha"].push_back(number_or_null(alpha.mean));
    json["alpha_se"].push_back(number_or_null(alpha.standard_error));
    json["spike_attention"].push_back(number_or_null(block.spikes.mean()));
    json["spike_attention_se"].push_back(number_or_null(block.spikes.standard_error()));
  }
  return json;
}

Json run_json(const InterventionRun& run, const std::vector<PlacedEdit>& edits, const PassResult& pass,
              const PassResult& baseline, const std::vector<double>& counts) {
  int64_t rows = 0;
  for (const PlacedEdit& edit : edits)
    for (const auto& layer : edit.rows) rows += static_cast<int64_t>(layer.size());
  const WindowMean difference = window_mean(minus(pass.sums, baseline.sums), counts);
  Json json = {{"name", run.name},
               {"what", run.what},
               {"plateau", run.plateau ? Json(*run.plateau) : Json(nullptr)},
               {"control", run.control},
               {"given", run.given},
               {"spec", to_text(run.edits)},
               {"rows", rows},
               {"difference", number_or_null(difference.mean)},
               {"difference_se", number_or_null(difference.standard_error)}};
  json.update(pass_json(pass, counts));
  return json;
}

Json plateaus_json(std::span<const Plateau> plateaus, const Json& runs) {
  Json json = Json::array();
  for (size_t k = 0; k < plateaus.size(); ++k) {
    json.push_back({{"first", plateaus[k].first},
                    {"last", plateaus[k].last},
                    {"dims", plateaus[k].dims},
                    {"value", plateaus[k].values[0]},
                    {"value_se", number_or_null(plateaus[k].errors[0])}});
    const auto difference = [&](const char* what) {
      for (const Json& run : runs)
        if (run.at("plateau") == k && run.at("what") == what) return number_or_nan(run.at("difference"));
      return std::nan("");
    };
    json.back()["verdict"] = verdict_on_values(difference("zero"), difference("mean"));
  }
  return json;
}

void write_arrays(H5File& arrays, const std::vector<PassResult>& passes, const std::vector<double>& counts) {
  std::vector<double> sums, first;
  for (const PassResult& pass : passes) {
    sums.insert(sums.end(), pass.sums.begin(), pass.sums.end());
    first.insert(first.end(), pass.first.begin(), pass.first.end());
  }
  const std::vector<int64_t> shape = {static_cast<int64_t>(passes.size()), static_cast<int64_t>(counts.size())};
  arrays.write<double>("/loss_sums", shape, std::span<const double>(sums));
  arrays.write<double>("/loss_position0", shape, std::span<const double>(first));
  arrays.write<double>("/positions", counts);
}

}  // namespace

Json run_interventions(const Checkpoint& checkpoint, const DumpReader& dump, const InterventionRequest& request,
                       H5File& arrays, const InterventionProgress& progress) {
  require_language_model(checkpoint.architecture(), "interventions are judged by");
  const DumpTokens& tokens = dump.tokens();
  if (tokens.size() == tokens.n_prompts()) fail("no prompt has two tokens: there is nothing to predict");
  if (const std::string missing = missing_residual(dump); !missing.empty())
    fail("{}: the dump has no {}; name prompts (--text, --prompts, ...) for a new one", dump.out().string(), missing);

  progress(0.0, "looking for spikes");
  SharedScan scan(dump);
  const std::vector<LayerScan>& layers = scan(false, {});
  const std::vector<Plateau> plateaus = find_plateaus(layers);
  const Writers writers =
      find_writers({dump, scan, [&]() -> const ModelWeights& { return checkpoint.weights(); }, {}}, plateaus);
  std::mt19937_64 random(request.seed);
  std::vector<InterventionRun> runs;
  if (request.plan) runs = default_plan(dump, checkpoint.architecture(), layers, plateaus, writers.rows, random);
  runs.insert(runs.end(), request.given.begin(), request.given.end());
  std::vector<std::vector<PlacedEdit>> placed;
  for (const InterventionRun& run : runs) placed.push_back(place_edits(run.edits, tokens, layers, random));

  Passes passes(checkpoint, dump, layers);
  const auto at_work = [&](size_t done, const std::string& name) {
    return [&progress, done, name, all = runs.size() + 1](double fraction) {
      progress((static_cast<double>(done) + fraction) / static_cast<double>(all), name);
    };
  };
  std::vector<PassResult> results = {run_baseline(passes, placed, at_work(0, "baseline"))};
  Json json;
  json["baseline"] = {{"name", "baseline"}};
  json["baseline"].update(pass_json(results[0], passes.counts()));
  json["runs"] = Json::array();
  for (size_t i = 0; i < runs.size(); ++i) {
    try {
      results.push_back(run_edits(passes, placed[i], results[0], at_work(i + 1, runs[i].name)));
    } catch (const Error& error) {
      fail("intervention '{}': {}", runs[i].name, error.what());
    }
    json["runs"].push_back(run_json(runs[i], placed[i], results.back(), results[0], passes.counts()));
  }
  write_arrays(arrays, results, passes.counts());
  json["plateaus"] = plateaus_json(plateaus, json["runs"]);
  json["seed"] = request.seed;
  json["writers_note"] = writers.note.empty() ? Json(nullptr) : Json(writers.note);
  return json;
}

}  // namespace spikescope
