// Writing a page the way all sub-commands do.
#pragma once

#include <filesystem>

#include "cli/command.h"
#include "report/comparison.h"
#include "report/report.h"

namespace spikescope {

/// Adds the third-party notices and writes `folder`/index.html with its figures; returns the page. With pictures only
/// where `interactive` is false, or (said in a note) plotly.js is not there.
std::filesystem::path write_page(ReportPage page, const std::filesystem::path& folder, bool interactive,
                                 const Session& session);

/// Today, UTC: "2026-11-22".
std::string today();

/// Processor and number of its cores, as /proc/cpuinfo has them.
std::string machine_text();

/// The page over `runs` with its figures, survey.csv and comparison.json, in `folder`; returns the page. `facts` stand
/// first in how it was made.
std::filesystem::path write_comparison(const std::vector<ComparedRun>& runs,
                                       std::vector<std::pair<std::string, std::string>> facts,
                                       const std::filesystem::path& folder, const Session& session);

}  // namespace spikescope
