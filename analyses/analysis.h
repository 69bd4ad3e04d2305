// What an analysis is: it says what it needs from a capture, runs on the dump, and makes figures of its results. All
// analyses are rows of the table in analyses/analyses.cpp.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analyses/layer_choice.h"
#include "capture/dump.h"
#include "figure/figure.h"
#include "io/json.h"

namespace spikescope {

class ModelWeights;
class H5File;
class SharedScan;

/// What the capture has to keep for an analysis.
struct Needs {
  std::vector<std::string> points;  ///< hook points by name or glob; those that a model lacks are left out
  bool sinks = false;               ///< SinkStatistics of each block
  bool writers = false;             ///< WriterRows of each block
};

struct AnalysisInput {
  const DumpReader& dump;
  SharedScan& scan;  ///< of the dump's residual states, one for all analyses of a run
  /// The checkpoint's weights, opened on the first call (an analysis that needs none works without the checkpoint).
  std::function<const ModelWeights&()> weights;
  /// Fraction done, 0 to 1; for the progress bar.
  std::function<void(double)> progress;
  uint64_t seed = 0;  ///< of all samples: the same seed draws the same
  LayerChoice spectrum_layers;  ///< blocks whose stacked matrices are decomposed (null_space)
  /// A line for people who wait; may be empty.
  std::function<void(const std::string&)> note;
};

/// Figures and tables of a finished analysis, in reading order, with a sentence or two on what they show.
struct Section {
  std::string summary;  ///< the finding in words and numbers, from the results alone
  std::vector<Table> tables;
  std::vector<Figure> figures;
};

struct Analysis {
  std::string_view name;   ///< "spikes": file name of the results and value of --only
  std::string_view title;  ///< heading in the report
  Needs (*needs)();
  /// Computes the results. The JSON has the keys of docs/results.md without the common ones (`analysis`, `model`, ...),
  /// which the caller adds; larger arrays go into `arrays` (OUT/results/<name>.h5).
  Json (*run)(const AnalysisInput& input, H5File& arrays);
  /// Figures from the results (the JSON with the common keys), the arrays and the dump.
  Section (*section)(const Json& results, const H5File& arrays, const DumpReader& dump);
  std::string_view command = "analyze";  ///< the sub-command that makes its results
};

/// All analyses, in the order of the report.
std::span<const Analysis> analyses();
/// What sub-commands of their own leave as results (`needs` and `run` are null): those that run the model, or need no
/// dump. After the analyses in the report.
std::span<const Analysis> experiments();
/// nullptr when there is none of that name.
const Analysis* find_analysis(std::string_view name);

}  // namespace spikescope
