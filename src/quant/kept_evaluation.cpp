#include "quant/kept_evaluation.h"

#include "base/fail.h"

namespace spikescope {
namespace {

constexpr const char* kFormat = "evaluate";

std::vector<double> numbers(const Json& list, const std::string& what) {
  if (!list.is_array()) fail("{}: a {}; expected an array of numbers", what, list.type_name());
  std::vector<double> values;
  for (const Json& value : list) {
    if (!value.is_number()) fail("{}: holds a {}; expected numbers", what, value.type_name());
    values.push_back(value.get<double>());
  }
  return values;
}

std::vector<double> numbers(const Json& json, const char* key, const std::string& what) {
  return numbers(json.value(key, Json()), fmt::format("{}, \"{}\"", what, key));
}

const Json& object(const Json& json, const char* key, const std::string& what) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_object()) fail("{}: \"{}\" is missing or no object", what, key);
  return *found;
}

void read_windows(const Json& json, const std::string& what, KeptEvaluation& kept) {
  const Json& text = object(json, "text", what);
  kept.text = json_get<std::string>(text, "file", what);
  kept.ids_sha256 = json_get<std::string>(text, "ids_sha256", what);
  kept.length = json_get<int64_t>(json, "length", what);
  const Json& per_window = object(json, "per_window", what);
  const std::vector<double> nll = numbers(per_window, "nll", what);
  const std::vector<double> position0 = numbers(per_window, "nll_position0", what);
  if (nll.size() != position0.size())
    fail("{}: {} losses of windows, but {} of their first positions", what, nll.size(), position0.size());
  for (size_t window = 0; window < nll.size(); ++window) kept.windows.push_back({nll[window], position0[window]});
}

void read_tasks(const Json& json, const std::string& what, KeptEvaluation& kept) {
  for (const auto& task : object(json, "tasks", what).items()) {
    const std::string where = fmt::format("{}, task {}", what, task.key());
    if (!task.value().is_object()) fail("{}: a {}; expected an object", where, task.value().type_name());
    KeptTask& read = kept.tasks[task.key()];
    read.file_sha256 = json_get<std::string>(task.value(), "file_sha256", where);
    for (const Json& row : task.value().value("loglikelihoods", Json::array()))
      read.scores.push_back(numbers(row, where + ", loglikelihoods"));
  }
}

std::string two(const char* setting, const std::string& kept, const std::string& wanted) {
  return kept == wanted ? "" : fmt::format("{} {}, not {}", setting, kept, wanted);
}

}  // namespace

Json to_json(const KeptEvaluation& kept) {
  Json json = {{"model", kept.model}, {"model_sha256", kept.model_sha256}, {"dtype", kept.dtype}, {"bos", kept.bos}};
  if (!kept.text.empty()) {
    Json nll = Json::array(), position0 = Json::array();
    for (const WindowLoss& window : kept.windows) {
      nll.push_back(window.nll);
      position0.push_back(window.position0);
    }
    json["text"] = {{"file", kept.text}, {"ids_sha256", kept.ids_sha256}};
    json["length"] = kept.length;
    json["per_window"] = {{"nll", std::move(nll)}, {"nll_position0", std::move(position0)}};
  }
  for (const auto& [name, task] : kept.tasks)
    json["tasks"][name] = {{"file_sha256", task.file_sha256}, {"loglikelihoods", task.scores}};
  return json;
}

KeptEvaluation kept_evaluation(const Json& json, const std::string& what) {
  KeptEvaluation kept{.model = json_get<std::string>(json, "model", what),
                      .model_sha256 = json_get<std::string>(json, "model_sha256", what),
                      .dtype = json_get<std::string>(json, "dtype", what),
                      .bos = json_get<std::string>(json, "bos", what)};
  if (json.contains("text")) read_windows(json, what, kept);
  if (json.contains("tasks")) read_tasks(json, what, kept);
  return kept;
}

KeptEvaluation read_evaluation(const std::filesystem::path& file) {
  const Json json = read_json_file(file);
  if (!json.is_object() || json_get_or<std::string>(json, "analysis", "", file.string()) != kFormat)
    fail("{}: not a result of `spikescope evaluate --out`", file.string());
  return kept_evaluation(json, file.string());
}

std::string difference_of_windows(const KeptEvaluation& kept, const KeptEvaluation& wanted) {
  if (kept.text.empty() || wanted.text.empty()) return "";
  if (kept.ids_sha256 != wanted.ids_sha256)
    return fmt::format("token ids of {} that are not those of {} here (another text, or another tokenizer)", kept.text,
                       wanted.text);
  if (kept.length != wanted.length) return fmt::format("windows of {} tokens, not {}", kept.length, wanted.length);
  return two("a BOS of", kept.bos, wanted.bos);
}

std::string difference_of_settings(const KeptEvaluation& kept, const KeptEvaluation& wanted) {
  if (kept.model_sha256 != wanted.model_sha256)
    return fmt::format("other weights ({}, SHA-256 {}...)", kept.model, kept.model_sha256.substr(0, 12));
  if (const std::string dtype = two("--dtype", kept.dtype, wanted.dtype); !dtype.empty()) return dtype;
  if (const std::string bos = two("a BOS of", kept.bos, wanted.bos); !bos.empty()) return bos;
  for (const auto& [name, task] : wanted.tasks)
    if (const auto earlier = kept.tasks.find(name);
        earlier != kept.tasks.end() && earlier->second.file_sha256 != task.file_sha256)
      return fmt::format("another file of the task {}", name);
  return difference_of_windows(kept, wanted);
}

}  // namespace spikescope
