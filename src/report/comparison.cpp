#include "report/comparison.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analyses/labels.h"
#include "analyses/sinks/block_sinks.h"
#include "base/fail.h"
#include "io/json.h"
#include "stats/moments.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

constexpr size_t kTop = 3;

/// A piece of a results file that knows its place in it, for messages.
struct Node {
  const Json& json;
  std::string what;  ///< "out/results/spikes.json: layers[3]"

  template <class T>
  T get(std::string_view key) const {
    return json_get<T>(json, key, what);
  }
  /// NaN for null; the key has to be there.
  double number(std::string_view key) const {
    if (json.is_object() && json.contains(key) && json.at(key).is_null()) return ComparedRun::kNone;
    return json_get<double>(json, key, what);
  }
  Node child(std::string_view key) const {
    if (!json.is_object() || !json.contains(key)) wrong(key, "is missing");
    return {json.at(key), fmt::format("{}: {}", what, key)};
  }
  std::vector<Node> list(std::string_view key) const {
    if (!json.is_object() || !json.contains(key)) wrong(key, "is missing");
    const Json& array = json.at(key);
    if (!array.is_array()) wrong(key, "is no array");
    std::vector<Node> nodes;
    for (size_t i = 0; i < array.size(); ++i) nodes.push_back({array[i], fmt::format("{}: {}[{}]", what, key, i)});
    return nodes;
  }
  [[noreturn]] void wrong(std::string_view key, std::string_view problem) const {
    fail("{}: the key \"{}\" {}: not results as this version writes them; run `spikescope analyze` again", what, key,
         problem);
  }
};

double depth_of(int64_t layer, int64_t blocks) {
  return blocks > 0 ? static_cast<double>(layer) / static_cast<double>(blocks) : 0.0;
}

void read_states(const Node& spikes, ComparedRun& run) {
  const std::vector<Node> layers = spikes.list("layers");
  if (layers.empty()) spikes.wrong("layers", "is empty");
  run.blocks = static_cast<int64_t>(layers.size()) - 1;
  for (const Node& layer : layers) {
    const int64_t state = layer.get<int64_t>("layer");
    const double largest = layer.number("max"), median = layer.number("median");
    run.spikes.depth.push_back(depth_of(state, run.blocks));
    run.spikes.value.push_back(median > 0 ? largest / median : ComparedRun::kNone);
    run.spikes.hover.push_back(
        fmt::format("{} at layer {} of {}\nmedian {}", number(largest), state, run.blocks, number(median)));
    if (!(largest > run.largest()) && !run.top.empty()) continue;
    run.state = state;
    run.median = median;
    run.top.clear();
    // Of one prompt, since all prompts may begin with the same token; results of older versions have them of all only.
    for (const Node& entry : layer.list(layer.json.contains("prompt_top") ? "prompt_top" : "top")) {
      if (run.top.size() == kTop) break;
      run.top.push_back({entry.number("value"), entry.get<int64_t>("prompt"), entry.get<int64_t>("token"),
                         entry.get<int64_t>("dim")});
    }
    if (run.top.empty()) layer.wrong("top", "is empty");
  }
}

void read_spike_tokens(const Node& spikes, ComparedRun& run) {
  std::map<std::pair<int64_t, int64_t>, std::string> tokens;  // a token on two plateaus counts once
  for (const Node& spike : spikes.list("spikes")) {
    const std::string piece = spike.get<std::string>("string");
    tokens[{spike.get<int64_t>("prompt"), spike.get<int64_t>("token")}] =
        piece.empty() ? fmt::format("id {}", json_get_or<int64_t>(spike.json, "id", -1, spike.what))
                      : fmt::format("'{}'", readable_piece(piece));
  }
  std::set<std::string> first_texts;
  std::map<std::string, int64_t> inside;
  int64_t first = 0;
  for (const auto& [place, text] : tokens) {
    if (place.second == 0) {
      ++first;
      first_texts.insert(text);
    } else {
      ++inside[text];
    }
  }
  if (first > 0) run.spike_tokens.push_back({true, first_texts.size() == 1 ? *first_texts.begin() : "", first});
  const size_t begin = run.spike_tokens.size();
  for (const auto& [text, count] : inside) run.spike_tokens.push_back({false, text, count});
  std::stable_sort(run.spike_tokens.begin() + static_cast<std::ptrdiff_t>(begin), run.spike_tokens.end(),
                   [](const SpikeTokenKind& a, const SpikeTokenKind& b) { return a.count > b.count; });
}

void read_plateaus(const Node& spikes, ComparedRun& run) {
  std::vector<std::pair<double, std::vector<int64_t>>> dims;  // by the plateau's value
  for (const Node& plateau : spikes.list("plateaus")) {
    run.plateaus.emplace_back(plateau.get<int64_t>("first"), plateau.get<int64_t>("last"));
    dims.push_back({-std::abs(json_get_or<double>(plateau.json, "value", 0.0, plateau.what)), {}});
    for (const Node& dim : plateau.list("dims")) {
      if (!dim.json.is_number_integer()) plateau.wrong("dims", "holds something else than whole numbers");
      dims.back().second.push_back(dim.json.get<int64_t>());
    }
  }
  std::stable_sort(dims.begin(), dims.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [value, plateau] : dims) {
    for (const int64_t dim : plateau) {
      if (std::find(run.dims.begin(), run.dims.end(), dim) == run.dims.end()) run.dims.push_back(dim);
    }
  }
}

void read_sinks(const Node& sinks, ComparedRun& run) {
  run.sink_rate = sinks.number("sink_rate");
  run.mean_alpha = sinks.number("mean_alpha");
  for (const Node& layer : sinks.list("layers")) {
    const int64_t block = layer.get<int64_t>("block");
    Moments above;
    for (const Node& head : layer.list("heads")) {
      const double alpha = head.number("alpha");
      if (!std::isnan(alpha)) above.add(alpha > kSinkAlpha);
    }
    run.sinks.depth.push_back(depth_of(block, run.blocks));
    run.sinks.value.push_back(above.mean());
    run.sinks.hover.push_back(
        fmt::format("{} of the {} heads of block {}", percent(above.mean()), above.count(), block));
  }
}

void read_constancy(const Node& convergence, ComparedRun& run) {
  Moments spike, ordinary;
  bool one_token = true;
  for (const Node& layer : convergence.list("layers")) {
    const int64_t state = layer.get<int64_t>("layer");
    const Node vectors = layer.child("spike");
    const double cosine = vectors.json.is_null() ? ComparedRun::kNone : vectors.number("cosine");
    run.constancy.depth.push_back(depth_of(state, run.blocks));
    run.constancy.value.push_back(cosine);
    run.constancy.hover.push_back(fmt::format("cosine {} at layer {} of {}", number(cosine), state, run.blocks));
    const bool on_plateau = std::any_of(run.plateaus.begin(), run.plateaus.end(), [&](const auto& plateau) {
      return plateau.first <= state && state <= plateau.second;
    });
    if (!on_plateau || std::isnan(cosine)) continue;
    spike.add(cosine);
    const auto count = json_get_or<int64_t>(vectors.json, "count", 0, vectors.what);
    one_token &= count > 0 && json_get_or<int64_t>(layer.json, "constant", 0, layer.what) == count;
    const Node others = layer.child("ordinary");
    if (others.json.is_null()) continue;
    if (const double reference = others.number("cosine"); !std::isnan(reference)) ordinary.add(reference);
  }
  run.spike_cosine = spike.mean();
  run.ordinary_cosine = ordinary.mean();
  run.one_spike_token = one_token && spike.count() > 0;
}

/// Results of one analysis of the run, or why there are none.
struct ResultsFile {
  ResultsFile(const fs::path& out, std::string_view analysis)
      : path(out / "results" / fmt::format("{}.json", analysis)) {
    if (!fs::exists(path)) {
      why = fmt::format("results/{}.json is missing", analysis);
      return;
    }
    json = read_json_file(path);
    if (!json_get<bool>(json, "applicable", path.string())) why = json_get<std::string>(json, "why", path.string());
  }
  Node root() const { return {json, path.string()}; }

  fs::path path;
  Json json;
  std::string why;
};

}  // namespace

double ComparedRun::largest() const { return top.empty() ? kNone : std::abs(top[0].value); }

std::vector<fs::path> run_folders(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail("{}: no such file or folder; name a run's folder", path.string());
  const auto is_run = [&](const fs::path& folder) { return fs::exists(folder / "results" / "spikes.json", error); };
  fs::path candidate = fs::weakly_canonical(path);
  for (int up = 0; up < 3; ++up, candidate = candidate.parent_path())
    if (is_run(candidate)) return {candidate};
  // A survey has a folder a model, and one more level for towers.
  constexpr int kLevels = 2;
  std::vector<fs::path> runs;
  if (fs::is_directory(path, error))
    for (auto entry = fs::recursive_directory_iterator(fs::weakly_canonical(path), error);
         entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      if (error) break;
      if (entry->is_directory(error) && is_run(entry->path())) runs.push_back(entry->path());
      if (entry.depth() + 1 >= kLevels) entry.disable_recursion_pending();
    }
  if (runs.empty())
    fail("{}: no results/spikes.json here, so this is no run that was analysed; run: spikescope analyze {}",
         path.string(), path.string());
  std::sort(runs.begin(), runs.end());
  return runs;
}

ComparedRun read_run(const fs::path& out) {
  ComparedRun run;
  run.folder = out;
  const ResultsFile spikes(out, "spikes");
  if (!spikes.why.empty()) fail("{}: nothing to compare: {}", spikes.path.string(), spikes.why);
  run.name = spikes.root().get<std::string>("model");
  run.windows = spikes.root().get<int64_t>("windows");
  run.tokens = spikes.root().get<int64_t>("tokens");
  read_states(spikes.root(), run);
  read_spike_tokens(spikes.root(), run);
  read_plateaus(spikes.root(), run);

  const ResultsFile sinks(out, "sinks"), convergence(out, "convergence");
  run.no_sinks = sinks.why;
  if (sinks.why.empty()) read_sinks(sinks.root(), run);
  run.no_constancy = convergence.why;
  if (convergence.why.empty()) read_constancy(convergence.root(), run);
  return run;
}

std::vector<std::string> distinct_ends(const std::vector<fs::path>& paths) {
  std::vector<std::vector<std::string>> pieces;
  size_t longest = 1;
  for (const fs::path& path : paths) {
    pieces.emplace_back();
    for (const fs::path& piece : path.lexically_normal().relative_path()) {
      if (!piece.empty()) pieces.back().push_back(piece.string());
    }
    longest = std::max(longest, pieces.back().size());
  }
  std::vector<std::string> ends;
  for (size_t length = 1; length <= longest; ++length) {
    ends.clear();
    for (const auto& all : pieces) {
      const size_t first = all.size() - std::min(length, all.size());
      ends.push_back(fmt::format("{}", fmt::join(all.begin() + static_cast<std::ptrdiff_t>(first), all.end(), "/")));
    }
    if (std::set<std::string>(ends.begin(), ends.end()).size() == paths.size()) break;
  }
  return ends;
}

void make_names_distinct(std::vector<ComparedRun>& runs) {
  std::map<std::string, std::vector<ComparedRun*>> by_name;
  for (ComparedRun& run : runs) by_name[run.name].push_back(&run);
  for (const auto& [name, same] : by_name) {
    if (same.size() < 2) continue;
    std::vector<fs::path> folders;
    for (const ComparedRun* run : same) folders.push_back(run->folder);
    const std::vector<std::string> ends = distinct_ends(folders);
    for (size_t i = 0; i < same.size(); ++i) same[i]->name = fmt::format("{} ({})", name, ends[i]);
  }
}

}  // namespace spikescope
