#include "cli/page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <thread>

#include "base/progress.h"
#include "base/version.h"
#include "catalogue/catalogue.h"
#include "io/output_file.h"
#include "report/comparison_page.h"

namespace fs = std::filesystem;

namespace spikescope {

extern const std::string_view embedded_notices;  // THIRD_PARTY_NOTICES.md

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))); }

std::string machine_text() {
  std::string processor = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name") || line.find(": ") == std::string::npos) continue;
    processor = line.substr(line.find(": ") + 2);
    break;
  }
  return fmt::format("{}, {} cores", processor, std::thread::hardware_concurrency());
}

fs::path write_page(ReportPage page, const fs::path& folder, bool interactive, const Session& session) {
  const fs::path plotly = cache_folder() / "plotly.min.js";  // as scripts/demo.sh leaves it
  page.interactive = interactive && fs::exists(plotly);
  if (interactive && !page.interactive)
    note(session,
         fmt::format(
             "note: {} is missing, so the page has pictures instead of interactive figures; scripts/demo.sh fetches it",
             plotly.string()));
  page.notices = {{"Third-party notices", std::string(embedded_notices)}};
  Progress progress("report", session.quiet);
  progress.update(0.1, "drawing figures");
  write_report(page, folder, plotly);
  return folder / "index.html";
}

fs::path write_comparison(const std::vector<ComparedRun>& runs, std::vector<std::pair<std::string, std::string>> facts,
                          const fs::path& folder, const Session& session) {
  ReportPage page = comparison_page(runs);
  page.facts = std::move(facts);
  for (const ComparedRun& run : runs)
    if (!run.failed()) page.facts.emplace_back(run.name, run.folder.string());
  page.facts.emplace_back("Date", today());
  page.facts.emplace_back("Command", session.command_line);
  page.facts.emplace_back("Version", fmt::format("spikescope {}", version()));
  const fs::path written = write_page(std::move(page), folder, true, session);
  write_file(folder / "survey.csv", comparison_csv(runs));
  const Json json = {{"format", "spikescope-comparison"}, {"version", version()}, {"models", comparison_json(runs)}};
  write_file(folder / "comparison.json", json_text(json, 1) + "\n");
  return written;
}

}  // namespace spikescope
