#include "analyses/run.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>

#include "analyses/null_space/null_space.h"
#include "analyses/residual_scan.h"
#include "base/fail.h"
#include "base/version.h"
#include "io/hdf5.h"
#include "io/output_file.h"
#include "io/sha256.h"

namespace spikescope {
namespace {

std::filesystem::path results_file(const std::filesystem::path& out, std::string_view name, const char* extension) {
  return out / "results" / (std::string(name) + extension);
}

/// What tells a dump's results from those of another: its prompts and its model.
std::string fingerprint(const DumpReader& dump) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(dump.tokens().ids)));
  hash.update(std::as_bytes(std::span(dump.tokens().offsets)));
  hash.update(std::as_bytes(std::span(dump.info().model_sha256)));
  return hash.hex();
}

/// `of` has the keys that say what the results are of.
Json with_common_keys(std::string_view name, Json of, double seconds, Json own) {
  Json json;
  json["analysis"] = name;
  json["version"] = version();
  for (auto& [key, value] : of.items()) json[key] = std::move(value);
  json["seconds"] = seconds;
  json["applicable"] = true;
  for (auto& [key, value] : own.items()) json[key] = std::move(value);
  return json;
}

void write_results(const std::filesystem::path& out, std::string_view name, const Json& of,
                   const std::function<Json(H5File& arrays)>& compute) {
  const auto start = std::chrono::steady_clock::now();
  OutputFile arrays_file(results_file(out, name, ".h5"));
  H5File arrays = H5File::create(arrays_file.temporary());
  Json own = compute(arrays);
  arrays.set_attribute("/", "format", "spikescope-results");
  arrays.set_attribute("/", "analysis", name);
  arrays.set_attribute("/", "version", version());
  arrays.close();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Pieces of a vocabulary need not be valid UTF-8, JSON has to be.
  const std::string text =
      with_common_keys(name, of, seconds, std::move(own)).dump(1, ' ', false, Json::error_handler_t::replace);
  arrays_file.commit();
  write_file(results_file(out, name, ".json"), text + "\n");
}

/// Why these are not results of the dump; empty: they are.
std::string why_of_another_dump(const Json& results, const DumpReader& dump, const std::string& file) {
  if (results.contains("model_sha256"))  // of weights alone
    return json_get<std::string>(results, "model_sha256", file) == dump.info().model_sha256
               ? ""
               : "results of other weights than the dump beside them";
  const auto expected = std::pair(dump.tokens().n_prompts(), dump.tokens().size());
  const auto found = std::pair(json_get<int64_t>(results, "windows", file), json_get<int64_t>(results, "tokens", file));
  const std::string model = json_get<std::string>(results, "model", file);
  if (found != expected || model != dump.info().model_name)
    return fmt::format(
        "results of {} ({} windows, {} tokens), but the dump beside them is of {} ({} windows, {} tokens)", model,
        found.first, found.second, dump.info().model_name, expected.first, expected.second);
  const std::string now = fingerprint(dump);
  if (json_get_or<std::string>(results, "dump_sha256", now, file) != now)
    return "results of other prompts or weights than the dump beside them";
  return "";
}

/// Reads the section of results of this dump.
Section read_section(const Analysis& analysis, const Json& results, const DumpReader& dump) {
  const std::filesystem::path file = results_file(dump.out(), analysis.name, ".json");
  if (!json_get<bool>(results, "applicable", file.string()))
    return {"Not applicable: " + json_get<std::string>(results, "why", file.string()) + ".", {}, {}};
  const H5File arrays = H5File::open(results_file(dump.out(), analysis.name, ".h5"));
  try {
    return analysis.section(results, arrays, dump);
  } catch (const Json::exception& error) {
    fail("{}: not results as this version writes them ({}): run `spikescope {}` again", file.string(), error.what(),
         analysis.command);
  }
}

}  // namespace

void run_analyses(const std::filesystem::path& out, std::span<const Analysis* const> chosen,
                  const WeightsFactory& weights, const AnalysisProgress& progress, const AnalysisSettings& settings) {
  const DumpReader dump(out);
  check_layers(settings.spectrum_layers, dump.n_layers(), kSpectrumLayersOption);
  SharedScan scan(dump);
  for (const Analysis* analysis : chosen) {
    const auto report = [&](double fraction) {
      if (progress) progress(analysis->name, fraction);
    };
    make_results(dump, analysis->name, [&](H5File& arrays) {
      return analysis->run({dump, scan, weights, report, settings.seed, settings.spectrum_layers, settings.note},
                           arrays);
    });
    report(1.0);
  }
}

void make_results(const DumpReader& dump, std::string_view name, const std::function<Json(H5File& arrays)>& compute) {
  write_results(dump.out(), name,
                {{"model", dump.info().model_name},
                 {"windows", dump.tokens().n_prompts()},
                 {"tokens", dump.tokens().size()},
                 {"dump_sha256", fingerprint(dump)}},
                compute);
}

void make_weight_results(const std::filesystem::path& out, std::string_view name, const std::string& model,
                         const std::function<Json(H5File& arrays)>& compute) {
  write_results(out, name, {{"model", model}, {"windows", 0}, {"tokens", 0}}, compute);
}

std::vector<AnalysisResult> load_results(const std::filesystem::path& out) {
  const DumpReader dump(out);
  std::vector<AnalysisResult> loaded;
  for (const std::span<const Analysis> table : {analyses(), experiments()}) {
    for (const Analysis& analysis : table) {
      const std::filesystem::path file = results_file(out, analysis.name, ".json");
      if (!std::filesystem::exists(file)) continue;
      AnalysisResult result{&analysis, read_json_file(file), {}};
      const std::string other = why_of_another_dump(result.results, dump, file.string());
      if (!other.empty() && analysis.run) fail("{}: {}: run `spikescope analyze` again", file.string(), other);
      if (other.empty()) {
        result.section = read_section(analysis, result.results, dump);
      } else {
        result.another_dump = true;
        result.section.summary =
            fmt::format("Not shown: these are {}. Run `spikescope {}` again.", other, analysis.command);
      }
      loaded.push_back(std::move(result));
    }
  }
  return loaded;
}

const Json* applied(std::span<const AnalysisResult> loaded, std::string_view name) {
  for (const AnalysisResult& result : loaded)
    if (result.analysis->name == name && !result.another_dump && result.results.value("applicable", false))
      return &result.results;
  return nullptr;
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
