// Convergence after the norm: whether spike tokens become one and the same vector, the template, in all inputs. See
// README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Needs convergence_needs();
Json run_convergence(const AnalysisInput& input, H5File& arrays);
Section convergence_section(const Json& results, const H5File& arrays, const DumpReader& dump);

}  // namespace spikescope
