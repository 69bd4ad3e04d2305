// What the report says of `spikescope scan` (src/scan), which finds candidates for spikes in the weights alone. See
// README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Section scan_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
