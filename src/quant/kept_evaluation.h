// What an evaluation leaves in its file (docs/evaluate.md), enough to go on from and to be another one's reference.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"
#include "quant/perplexity.h"
#include "quant/zero_shot.h"

namespace spikescope {

struct KeptTask {
  std::string file_sha256;
  std::vector<ChoiceScores> scores;  ///< of the file's first questions
};

/// Measurements of one model, with what they depend on.
struct KeptEvaluation {
  std::string model;  ///< its name, for people
  std::string model_sha256;
  std::string dtype;  ///< precision of products
  std::string bos;    ///< in front of windows and questions: "none", or piece and id

  // Perplexity; no text: not measured.
  std::string text = {}, ids_sha256 = {};  ///< as TextWindows has them
  int64_t length = 0;
  std::vector<WindowLoss> windows = {};

  std::map<std::string, KeptTask> tasks = {};  ///< by name
};

/// The keys of the file that say this, beside those for people.
Json to_json(const KeptEvaluation& kept);
/// Reads them back from a document that `what` names. Throws Error for what is missing or of the wrong kind.
KeptEvaluation kept_evaluation(const Json& json, const std::string& what);
/// The same from a file that `spikescope evaluate --out` wrote.
KeptEvaluation read_evaluation(const std::filesystem::path& file);

/// What the windows of two evaluations differ in ("windows of 512 tokens and of 2048"); empty: they are the same, as
/// far as both have some.
std::string difference_of_windows(const KeptEvaluation& kept, const KeptEvaluation& wanted);
/// Why the measurements of `kept` are no part of an evaluation with the settings of `wanted`; empty: they are.
std::string difference_of_settings(const KeptEvaluation& kept, const KeptEvaluation& wanted);

}  // namespace spikescope
