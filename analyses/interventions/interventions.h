// Interventions: what happens to losses and sinks when spikes are changed. The passes are made by `spikescope
// intervene` (src/intervene); this is what the report says of them. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Section interventions_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
