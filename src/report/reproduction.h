// A paper's exhibits as a run shows them: verdicts, and the page in the paper's order.
#pragma once

#include <string>
#include <vector>

#include "report/exhibits.h"
#include "report/report.h"

namespace spikescope {

struct JudgedExhibit {
  const Exhibit* exhibit = nullptr;
  Verdict verdict;                   ///< with the exhibit's claim
  std::vector<std::string> figures;  ///< ids of those of its figures and tables that the run has
};

/// All exhibits of the paper, in order. One that cannot be made, or whose analyses are missing or do not apply, is
/// "not applicable", with why.
std::vector<JudgedExhibit> judge_paper(const Paper& paper, std::span<const AnalysisResult> results,
                                       const DumpReader& dump);

/// The page without its facts: a section an exhibit. A figure of several exhibits stands with the first of them.
ReportPage reproduction_page(const Paper& paper, const std::vector<JudgedExhibit>& exhibits,
                             std::span<const AnalysisResult> results, const std::string& model);

/// The exhibits without a run: `id`, `name`, `claim`, `figures`, `needs`, and `why_not` or null.
Json registry_json(const Paper& paper);
/// With one (docs/results.md, reproduction.json).
Json reproduction_json(const Paper& paper, const std::vector<JudgedExhibit>& exhibits, const std::string& model);

}  // namespace spikescope
