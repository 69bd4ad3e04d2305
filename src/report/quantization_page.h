// A table of quantizations as files of its own: a page, and the table for spreadsheets and texts.
#pragma once

#include <string>

#include "io/json.h"
#include "report/report.h"

namespace spikescope {

/// Title, summary, cards, and what a report shows as a section, the table first. `results`: docs/results.md,
/// quantize.json. Facts and notices are left to the caller.
ReportPage quantization_page(const Json& results);

/// A line a row, numbers in full, undefined ones empty. With questions: a column a task.
std::string quantization_csv(const Json& results);

/// The page's table in Markdown.
std::string quantization_markdown(const Json& results);

}  // namespace spikescope
