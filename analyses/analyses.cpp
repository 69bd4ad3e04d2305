#include <algorithm>
#include <array>

#include "analyses/alignment/alignment.h"
#include "analyses/analysis.h"
#include "analyses/convergence/convergence.h"
#include "analyses/interventions/interventions.h"
#include "analyses/null_space/null_space.h"
#include "analyses/quantize/quantize_section.h"
#include "analyses/rope_bands/rope_bands.h"
#include "analyses/scan/scan_section.h"
#include "analyses/sinks/sinks.h"
#include "analyses/spikes/spikes.h"

namespace spikescope {

std::span<const Analysis> analyses() {
  static const std::array table = {
      Analysis{"spikes", "Massive activation spikes", spikes_needs, run_spikes, spikes_section},
      Analysis{"sinks", "Attention sinks", sinks_needs, run_sinks, sinks_section},
      Analysis{"convergence", "Convergence after the norm", convergence_needs, run_convergence, convergence_section},
      Analysis{"alignment", "Queries, keys and values", alignment_needs, run_alignment, alignment_section},
      Analysis{"null_space", "The null space of the projections", null_space_needs, run_null_space, null_space_section},
      Analysis{"rope_bands", "Rotary positions", rope_bands_needs, run_rope_bands, rope_bands_section},
  };
  return table;
}

std::span<const Analysis> experiments() {
  static const std::array table = {
      Analysis{"interventions", "Interventions", nullptr, nullptr, interventions_section, "intervene"},
      Analysis{"scan", "From the weights alone", nullptr, nullptr, scan_section, "scan"},
      Analysis{"quantize", "Quantization", nullptr, nullptr, quantize_section, "quantize"},
  };
  return table;
}

const Analysis* find_analysis(std::string_view name) {
  const auto all = analyses();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Analysis& analysis) { return analysis.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace spikescope
