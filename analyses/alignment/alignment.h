// How queries, keys and values of a block treat the template. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Needs alignment_needs();
Json run_alignment(const AnalysisInput& input, H5File& arrays);
Section alignment_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
