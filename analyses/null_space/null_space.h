// Where the template lies among the singular directions of W_Q, W_K and W_V. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

/// Sets AnalysisInput::spectrum_layers.
inline constexpr const char* kSpectrumLayersOption = "--spectrum-layers";

Needs null_space_needs();
Json run_null_space(const AnalysisInput& input, H5File& arrays);
Section null_space_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
