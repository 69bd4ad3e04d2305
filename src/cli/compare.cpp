#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/page.h"
#include "io/json.h"
#include "report/comparison_page.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// The runs named, in their order, each once.
std::vector<ComparedRun> read_runs(const std::vector<fs::path>& reports) {
  std::vector<fs::path> folders;
  for (const fs::path& report : reports)
    for (const fs::path& folder : run_folders(report))
      if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(folder);
  std::vector<ComparedRun> runs;
  for (const fs::path& folder : folders) runs.push_back(read_run(folder));
  make_names_distinct(runs);
  return runs;
}

}  // namespace

void add_compare(CLI::App& app, Session& session) {
  struct Options {
    std::vector<fs::path> reports;
    fs::path out = "compare";
  };
  CLI::App* command = app.add_subcommand("compare", "Put several runs side by side in one page");
  command->footer(R"(Examples:
  spikescope compare runs/smol runs/gemma                    compare/index.html
  spikescope compare runs/*/report/index.html --out both     a run is named by its folder or anything in it
  spikescope compare runs                                    all runs in a folder, such as a survey's
  spikescope compare --json runs/smol runs/gemma             the table as JSON, besides

A run is what `spikescope run`, or `capture --sinks` and `analyze`, left in a folder; only its results are read. Beside
the page are figures/ (SVG, PDF, PNG, CSV), survey.csv and comparison.json (docs/results.md).)");
  auto options = std::make_shared<Options>();
  command->add_option("reports", options->reports, "Folders of runs")->required();
  command->add_option("--out", options->out, "Folder for the page")->capture_default_str();
  command->callback([options, &session] {
    session.action = [options, &session] {
      const std::vector<ComparedRun> runs = read_runs(options->reports);
      const fs::path page = write_comparison(runs, {}, options->out, session);
      if (session.json)
        fmt::print("{}\n", json_text({{"page", page.string()}, {"models", comparison_json(runs)}}));
      else
        fmt::print("page: {}\n", page.string());
      return 0;
    };
  });
}

}  // namespace spikescope
