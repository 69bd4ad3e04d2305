#include "notebooks-export/notebook.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fail.h"
#include "cli/command.h"
#include "io/output_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  fs::path out, output;
  std::vector<std::string> only;
  bool force = false;
};

void check_names(const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const auto table : {analyses(), experiments()})
    for (const Analysis& analysis : table) known.emplace_back(analysis.name);
  for (const std::string& name : names)
    if (std::find(known.begin(), known.end(), name) == known.end()) fail_unknown_analysis(name, known);
}

std::string_view experiment_command(const std::string& name) {
  const auto all = experiments();
  return std::find_if(all.begin(), all.end(), [&](const Analysis& experiment) { return experiment.name == name; })
      ->command;
}

/// The results of these names, in the order of the report; all where none is named.
std::vector<AnalysisResult> chosen_results(const fs::path& out, const std::vector<std::string>& names) {
  std::vector<AnalysisResult> results = load_results(out);
  for (const std::string& name : names)
    if (std::none_of(results.begin(), results.end(),
                     [&](const AnalysisResult& result) { return result.analysis->name == name; }))
      fail("{}: there are no results of {}; run: spikescope {}", (out / "results").string(), name,
           find_analysis(name) ? fmt::format("analyze {} --only {}", out.string(), name)
                               : fmt::format("{} --out {} --model MODEL", experiment_command(name), out.string()));
  std::erase_if(results, [&](const AnalysisResult& result) {
    return !names.empty() && std::find(names.begin(), names.end(), result.analysis->name) == names.end();
  });
  if (results.empty())
    fail("{}: there are no results to draw; run: spikescope analyze {}", (out / "results").string(), out.string());
  return results;
}

int notebook(const Options& options, const Session& session) {
  check_names(options.only);
  const fs::path path = options.output.empty() ? options.out / "notebook.ipynb" : options.output;
  const DumpReader dump(options.out);
  const std::vector<AnalysisResult> results = chosen_results(options.out, options.only);
  // Somebody's work may be in it.
  if (fs::exists(path) && !options.force)
    fail("{}: is there already; write under another name with --output, or over it with --force", path.string());
  const fs::path folder = fs::absolute(path).parent_path();
  const Json json = make_notebook(dump.info(), results, fs::relative(options.out, folder));
  write_file(path, json_text(json, 1) + "\n");
  const std::vector<std::string> undrawn = undrawn_figures(results);
  for (const std::string& id : undrawn) note(session, fmt::format("note: no cell draws {}", id));
  if (session.json)
    fmt::print(
        "{}\n",
        json_text({{"notebook", path.string()}, {"cells", json.at("cells").size()}, {"undrawn_figures", undrawn}}));
  else
    fmt::print("notebook: {}\n", path.string());
  return 0;
}

}  // namespace

void add_notebook(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("notebook", "Write a Jupyter notebook that draws the figures of a run again");
  command->footer(R"(Examples:
  spikescope notebook runs/smol                            runs/smol/notebook.ipynb
  spikescope notebook runs/smol --only spikes --only sinks
  spikescope notebook runs/smol --output spikes.ipynb      finds runs/smol by its path from the notebook's folder
  jupyter lab runs/smol/notebook.ipynb

The notebook opens dump and results with h5py and draws every figure of the report with matplotlib, in a few lines that
are there to be changed. It needs h5py, numpy and matplotlib. A notebook that is there already is left as it is.)");
  auto options = std::make_shared<Options>();
  command->add_option("out", options->out, "Folder of a run")->required();
  command->add_option("--output", options->output, "File to write (default: OUT/notebook.ipynb)");
  command->add_option("--only,--analysis", options->only, "Analyses to draw, by name (repeatable)");
  command->add_flag("--force", options->force, "Write over a notebook that is there");
  command->callback(
      [options, &session] { session.action = [options, &session] { return notebook(*options, session); }; });
}

}  // namespace spikescope
