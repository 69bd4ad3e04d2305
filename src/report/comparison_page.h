// Several runs side by side: as a page, as a table for spreadsheets, as JSON.
#pragma once

#include <span>
#include <string>

#include "io/json.h"
#include "report/comparison.h"
#include "report/report.h"

namespace spikescope {

/// Title, summary, cards, tables and figures; facts and notices are left to the caller. Runs may have failed, or lack
/// sinks and constancy: the page says so where they would be.
ReportPage comparison_page(std::span<const ComparedRun> runs);

/// One line a run, numbers in full (survey.csv).
std::string comparison_csv(std::span<const ComparedRun> runs);

/// The same with the curves of the figures (comparison.json, docs/results.md), without the keys about the program.
Json comparison_json(std::span<const ComparedRun> runs);

}  // namespace spikescope
