#include "analyses/run.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/fail.h"
#include "base/version.h"
#include "io/hdf5.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

std::filesystem::path results_file(const std::filesystem::path& out, const Analysis& analysis, const char* extension) {
  return out / "results" / (std::string(analysis.name) + extension);
}

Json with_common_keys(const Analysis& analysis, const DumpReader& dump, double seconds, Json own) {
  Json json;
  json["analysis"] = analysis.name;
  json["version"] = version();
  json["model"] = dump.info().model_name;
  json["windows"] = dump.tokens().n_prompts();
  json["tokens"] = dump.tokens().size();
  json["seconds"] = seconds;
  json["applicable"] = true;
  for (auto& [key, value] : own.items()) json[key] = std::move(value);
  return json;
}

void check_same_dump(const Json& results, const DumpReader& dump, const std::string& file) {
  const auto expected = std::pair(dump.tokens().n_prompts(), dump.tokens().size());
  const auto found = std::pair(json_get<int64_t>(results, "windows", file), json_get<int64_t>(results, "tokens", file));
  const std::string model = json_get<std::string>(results, "model", file);
  if (found == expected && model == dump.info().model_name) return;
  fail(
      "{}: results of {} ({} windows, {} tokens), but the dump beside them is of {} ({} windows, {} tokens): run "
      "`spikescope analyze` again",
      file, model, found.first, found.second, dump.info().model_name, expected.first, expected.second);
}

}  // namespace

void run_analyses(const std::filesystem::path& out, std::span<const Analysis* const> chosen,
                  const WeightsFactory& weights, const AnalysisProgress& progress, uint64_t seed) {
  const DumpReader dump(out);
  for (const Analysis* analysis : chosen) {
    const auto report = [&](double fraction) {
      if (progress) progress(analysis->name, fraction);
    };
    const auto start = std::chrono::steady_clock::now();
    OutputFile arrays_file(results_file(out, *analysis, ".h5"));
    H5File arrays = H5File::create(arrays_file.temporary());
    Json own = analysis->run({dump, weights, report, seed}, arrays);
    arrays.set_attribute("/", "format", "spikescope-results");
    arrays.set_attribute("/", "analysis", analysis->name);
    arrays.set_attribute("/", "version", version());
    arrays.close();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    // Pieces of a vocabulary need not be valid UTF-8, JSON has to be.
    const std::string text =
        with_common_keys(*analysis, dump, seconds, std::move(own)).dump(1, ' ', false, Json::error_handler_t::replace);
    arrays_file.commit();
    write_file(results_file(out, *analysis, ".json"), text + "\n");
    report(1.0);
  }
}

std::vector<AnalysisResult> load_results(const std::filesystem::path& out) {
  const DumpReader dump(out);
  std::vector<AnalysisResult> loaded;
  for (const Analysis& analysis : analyses()) {
    const std::filesystem::path file = results_file(out, analysis, ".json");
    if (!std::filesystem::exists(file)) continue;
    AnalysisResult result{&analysis, read_json_file(file), {}};
    check_same_dump(result.results, dump, file.string());
    if (!json_get<bool>(result.results, "applicable", file.string())) {
      result.section.summary = "Not applicable: " + json_get<std::string>(result.results, "why", file.string()) + ".";
    } else {
      const H5File arrays = H5File::open(results_file(out, analysis, ".h5"));
      try {
        result.section = analysis.section(result.results, arrays, dump);
      } catch (const Json::exception& error) {
        fail("{}: not results as this version writes them ({}): run `spikescope analyze` again", file.string(),
             error.what());
      }
    }
    loaded.push_back(std::move(result));
  }
  return loaded;
}

Needs combined_needs(std::span<const Analysis* const> chosen) {
  Needs all;
  for (const Analysis* analysis : chosen) {
    const Needs needs = analysis->needs();
    for (const std::string& point : needs.points) {
      if (std::find(all.points.begin(), all.points.end(), point) == all.points.end()) all.points.push_back(point);
    }
    all.sinks |= needs.sinks;
    all.writers |= needs.writers;
  }
  return all;
}

}  // namespace spikescope
