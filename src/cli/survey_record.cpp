#include "cli/survey_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "analyses/run.h"
#include "base/fail.h"
#include "base/version.h"
#include "catalogue/catalogue.h"
#include "report/comparison.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using Status = SurveyEntry::Status;
constexpr std::array<std::string_view, 4> kStatusNames = {"waiting", "unfinished", "done", "failed"};

std::string_view status_name(Status status) { return kStatusNames[static_cast<size_t>(status)]; }

Status parse_status(const std::string& name) {
  const auto found = std::find(kStatusNames.begin(), kStatusNames.end(), name);
  return found == kStatusNames.end() ? Status::waiting : static_cast<Status>(found - kStatusNames.begin());
}

/// Names in OUT that the survey itself needs; a model called so gets something added.
const std::set<std::string> kReserved = {"", "figures", "index.html", "survey.json", "survey.csv", "comparison.json"};

/// Whether all that analyses and report leave is there, and no older than the dump: a run that was ended between the
/// two leaves older results beside a new dump.
std::string missing_results(const fs::path& out) {
  std::vector<fs::path> files = {out / "report" / "index.html"};
  for (const Analysis& analysis : analyses())
    for (const char* ending : {".json", ".h5"})
      files.push_back(out / "results" / (std::string(analysis.name) + ending));
  const auto dump_time = fs::last_write_time(out / "dump" / "index.h5");
  for (const fs::path& file : files) {
    std::error_code error;
    if (!fs::exists(file, error)) return fmt::format("{} is missing", file.lexically_relative(out).string());
    if (fs::last_write_time(file) < dump_time)
      return fmt::format("{} is older than the dump", file.lexically_relative(out).string());
  }
  read_run(out);  // throws for what is damaged
  return "";
}

/// Whether the dump has these prompts, and as many random first tokens after them.
bool same_prompts(const DumpReader& dump, const DumpTokens& tokens) {
  const DumpTokens& before = dump.tokens();
  const auto begins = [](const auto& all, const auto& begin) {
    return all.size() >= begin.size() && std::equal(begin.begin(), begin.end(), all.begin());
  };
  const int64_t random = std::count_if(tokens.prompts.begin(), tokens.prompts.end(),
                                       [](const Json& prompt) { return prompt.value(kRandomFirst, false); });
  return random == dump.random_first() && tokens.n_prompts() - random == before.n_prompts() &&
         begins(tokens.ids, before.ids) && begins(tokens.offsets, before.offsets);
}

/// The seed that the samples of a finished run were drawn by.
uint64_t seed_of(const fs::path& out) {
  const Json results = read_json_file(out / "results" / "convergence.json");
  return results.contains("seed") && results.at("seed").is_number_unsigned() ? results.at("seed").get<uint64_t>() : 0;
}

}  // namespace

int64_t SurveyRecord::count(Status status) const {
  return std::count_if(entries.begin(), entries.end(),
                       [&](const SurveyEntry& entry) { return entry.status == status; });
}

std::vector<SurveyEntry> survey_entries(const std::vector<std::string>& models) {
  std::vector<SurveyEntry> entries;
  std::vector<fs::path> paths;
  std::map<std::string, std::vector<size_t>> by_name;
  for (const std::string& model : models) {
    const fs::path path = find_entry(model) ? fs::path(model) : fs::weakly_canonical(model);
    if (std::find(paths.begin(), paths.end(), path) != paths.end()) fail_usage("the model '{}' is named twice", model);
    by_name[model_name(path.string())].push_back(paths.size());
    paths.push_back(path);
    entries.emplace_back();
    entries.back().model = model;
    entries.back().name = model_name(path.string());
  }
  for (const auto& [name, same] : by_name) {
    if (same.size() < 2) continue;
    std::vector<fs::path> equal;
    for (const size_t i : same) equal.push_back(paths[i]);
    const std::vector<std::string> ends = distinct_ends(equal);
    for (size_t i = 0; i < same.size(); ++i) {
      entries[same[i]].name = ends[i];
      std::replace(entries[same[i]].name.begin(), entries[same[i]].name.end(), '/', '-');
    }
  }
  std::set<std::string> taken = kReserved;
  for (SurveyEntry& entry : entries)
    while (!taken.insert(entry.name).second) entry.name += "-model";
  return entries;
}

Json survey_settings(const CaptureOptions& options) {
  const PromptRequest& prompts = options.prompts;
  const auto path = [](const std::optional<fs::path>& file) {
    return file ? Json(fs::absolute(*file).string()) : Json(nullptr);
  };
  return {{"prompts", prompts.texts},
          {"prompts_file", path(prompts.prompts_file)},
          {"ids_file", path(prompts.ids_file)},
          {"text_file", path(prompts.text_file)},
          {"windows", prompts.windows},
          {"length", prompts.length},
          {"bos", options.bos},
          {"dtype", dtype_name(options.dtype)},
          {"storage", options.request.storage.storage},
          {"gzip", options.request.storage.gzip},
          {"losses", options.request.losses},
          {"points", options.request.points},
          {"random_first", options.random_first},
          {"seed", options.seed},
          {"version", version()}};
}

void recall(SurveyRecord& record, const fs::path& file, const Session& session) {
  std::error_code error;
  if (!fs::exists(file, error)) return;
  try {
    const std::string what = file.string();
    const Json before = read_json_file(file);
    const bool same_settings = before.contains("settings") && before.at("settings") == record.settings;
    if (!before.contains("models") || !before.at("models").is_array()) fail("{}: the key \"models\" is missing", what);
    for (const Json& model : before.at("models")) {
      for (SurveyEntry& entry : record.entries) {
        if (json_get<std::string>(model, "name", what) != entry.name) continue;
        entry.status = parse_status(json_get<std::string>(model, "status", what));
        // With other settings there is nothing to show, nor to go on from.
        if (entry.status == Status::failed || !same_settings) entry.status = Status::waiting;
        entry.seconds = json_get_or<double>(model, "seconds", 0.0, what);
        entry.files = model.contains("files") ? model.at("files") : Json();
        entry.sha256 = json_get_or<std::string>(model, "sha256", "", what);
      }
    }
  } catch (const Error& problem) {
    note(session, fmt::format("note: {}; it is written anew", problem.what()));
  }
}

Json to_json(const SurveyRecord& record, const Session& session) {
  Json models = Json::array();
  for (const SurveyEntry& entry : record.entries)
    models.push_back({{"model", entry.model},
                      {"name", entry.name},
                      {"status", status_name(entry.status)},
                      {"error", entry.error.empty() ? Json(nullptr) : Json(entry.error)},
                      {"seconds", entry.seconds},
                      {"sha256", entry.sha256.empty() ? Json(nullptr) : Json(entry.sha256)},
                      {"files", entry.files}});
  return {{"format", "spikescope-survey"},
          {"version", version()},
          {"command", session.command_line},
          {"settings", record.settings},
          {"models", std::move(models)}};
}

Json files_of(const Checkpoint& checkpoint) {
  Json files = Json::array();
  for (const fs::path& file : checkpoint.files())
    files.push_back({file.string(), fs::file_size(file), fs::last_write_time(file).time_since_epoch().count()});
  return files;
}

std::string why_to_capture(const fs::path& out, const PreparedCapture& now, const CaptureRequest& request,
                           std::string sha256) {
  std::error_code error;
  if (!fs::exists(out / "dump" / "index.h5", error)) return "there is no finished run yet";
  try {
    const DumpReader dump(out);
    const DumpInfo& info = dump.info();
    struct Setting {
      const char* name;
      const std::string &before, &after;
    };
    for (const Setting& setting :
         {Setting{"version", info.version, now.info.version}, Setting{"precision", info.dtype, now.info.dtype},
          Setting{"storage", info.storage, now.info.storage}}) {
      if (setting.before != setting.after)
        return fmt::format("its {} was {}, and is {} now", setting.name, setting.before, setting.after);
    }
    const Architecture& architecture = now.checkpoint->architecture();
    if (info.config != to_json(*now.checkpoint)) return "it is of another architecture";
    if (!same_prompts(dump, now.tokens)) return "it is of other prompts";
    for (const HookPoint& point : select_points(architecture, request.points, request.points_if_any))
      if (!dump.has(point)) return fmt::format("it has no {}", point.name());
    if (request.losses && dump.losses().empty()) return "it has no losses";
    if (request.sinks && !dump.has_sinks()) return "it has no sink statistics";
    if (request.writers && !dump.has_writers()) return "it has no writer rows";
    if (sha256.empty()) sha256 = now.checkpoint->sha256();
    return sha256 == info.model_sha256 ? "" : "the checkpoint has changed";
  } catch (const Error& problem) {
    return problem.what();
  }
}

std::string why_to_run(const CaptureOptions& options, const PreparedCapture& now, const SurveyEntry& entry) {
  const std::string known = entry.files == files_of(*now.checkpoint) ? entry.sha256 : "";
  if (std::string why = why_to_capture(options.out, now, options.request, known); !why.empty()) return why;
  try {
    if (std::string missing = missing_results(options.out); !missing.empty()) return missing;
    if (const uint64_t seed = seed_of(options.out); seed != options.seed)
      return fmt::format("its seed was {}, and is {} now", seed, options.seed);
    return "";
  } catch (const Error& problem) {
    return problem.what();
  }
}

}  // namespace spikescope
