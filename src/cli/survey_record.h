// What a survey remembers of its models: OUT/survey.json (docs/results.md).
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "io/json.h"

namespace spikescope {

/// One model of a survey.
struct SurveyEntry {
  enum class Status { waiting, unfinished, done, failed };

  std::string model;  ///< as it was named
  std::string tower;  ///< of a model with two, each of which is a model of its own here
  std::string name;   ///< of its folder in OUT
  Status status = Status::waiting;
  std::string error;     ///< of a failed one
  double seconds = 0.0;  ///< that its run took
  Json files;            ///< of its weights: path, size, time of change; while these stay, so does the hash
  std::string sha256;
};

struct SurveyRecord {
  Json settings;  ///< of the captures, for people, and to tell whether an unfinished run may go on
  std::vector<SurveyEntry> entries;

  int64_t count(SurveyEntry::Status status) const;
};

/// The models of a call, each with a folder name of its own: that of the model; where these are equal, with the folders
/// before it. Throws UsageError for a model named twice.
std::vector<SurveyEntry> survey_entries(const std::vector<std::string>& models);

/// The options as the record keeps them.
Json survey_settings(const CaptureOptions& options);

/// Puts into `record` what an earlier survey.json knows of its models. A file that cannot be read counts as none, with
/// a note.
void recall(SurveyRecord& record, const std::filesystem::path& file, const Session& session);
Json to_json(const SurveyRecord& record, const Session& session);

/// Weight files as SurveyEntry::files keeps them.
Json files_of(const Checkpoint& checkpoint);

/// Why the dump in OUT is not the one that a capture prepared like `now` would leave; empty: it is. `sha256` is that of
/// the checkpoint's weights, where it is known.
std::string why_to_capture(const std::filesystem::path& out, const PreparedCapture& now, const CaptureRequest& request,
                           std::string sha256 = "");

/// Why the run in options.out is not the one that a capture prepared like `now` would lead to; empty: it is.
/// options.request is what that capture would ask for.
std::string why_to_run(const CaptureOptions& options, const PreparedCapture& now, const SurveyEntry& entry);

}  // namespace spikescope
