// Whether the logit of the sink sits in slow, coherent RoPE pairs and so does not depend on distance
// (arXiv 2606.02288).
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Needs rope_bands_needs();
Json run_rope_bands(const AnalysisInput& input, H5File& arrays);
Section rope_bands_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
