// Massive activation spikes: which tokens and dimensions, over which layers, written by which module. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Needs spikes_needs();
Json run_spikes(const AnalysisInput& input, H5File& arrays);
Section spikes_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
