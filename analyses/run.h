// Runs analyses on a dump and reads their results back for the report.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "analyses/analysis.h"

namespace spikescope {

/// Opens the checkpoint that the dump records; called at most once a run, and not at all by analyses that need no
/// weights.
using WeightsFactory = std::function<const ModelWeights&()>;
/// Name of the analysis and fraction of it done, 0 to 1.
using AnalysisProgress = std::function<void(std::string_view name, double fraction)>;

/// What a user may set.
struct AnalysisSettings {
  uint64_t seed = 0;            ///< of all samples
  LayerChoice spectrum_layers;  ///< as AnalysisInput has it
  std::function<void(const std::string&)> note;
};

/// Runs `chosen` on OUT/dump. Each result appears as OUT/results/<name>.json and .h5,
/// whole or not at all: with the keys common to all (docs/results.md), then its own. An analysis that cannot be applied
/// to this dump gives `applicable`: false with `why`. Throws Error when the dump cannot be read or is damaged, UsageError
/// when `settings` name blocks that the model does not have; older results then stay as they were.
void run_analyses(const std::filesystem::path& out, std::span<const Analysis* const> chosen,
                  const WeightsFactory& weights, const AnalysisProgress& progress,
                  const AnalysisSettings& settings = {});

/// Writes OUT/results/<name>.json and .h5 of the dump's OUT, each whole or not at all: the keys common to all, then
/// those that `compute` returns; the arrays are what it fills in.
void make_results(const DumpReader& dump, std::string_view name, const std::function<Json(H5File& arrays)>& compute);

/// The same under any OUT, of weights alone: `compute` returns the weights' `model_sha256` among its keys, by which a
/// report knows them; there are 0 windows and tokens.
void make_weight_results(const std::filesystem::path& out, std::string_view name, const std::string& model,
                         const std::function<Json(H5File& arrays)>& compute);

/// Results of one analysis as the report shows them.
struct AnalysisResult {
  const Analysis* analysis = nullptr;
  Json results;
  Section section;            ///< of an analysis that could not be applied: the reason as its summary
  bool another_dump = false;  ///< an experiment on a dump that has been replaced
};

/// Reads what is under OUT/results, in the order of analyses() and experiments(); those never run are left out. Throws
/// Error when a file is damaged, or of another dump than the one under OUT/dump (an experiment then only says so: what
/// makes the dump does not make it anew).
std::vector<AnalysisResult> load_results(const std::filesystem::path& out);

/// The results of that name among those loaded; nullptr where they are missing or say that it could not be applied.
const Json* applied(std::span<const AnalysisResult> loaded, std::string_view name);

/// What the capture has to keep for all of `chosen`: points without repetition, flags of any.
Needs combined_needs(std::span<const Analysis* const> chosen);

}  // namespace spikescope
