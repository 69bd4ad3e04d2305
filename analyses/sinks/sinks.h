// Attention sinks: how much attention goes to the first token and to the spike tokens, and what they add to the
// attention output. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Needs sinks_needs();
Json run_sinks(const AnalysisInput& input, H5File& arrays);
Section sinks_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
