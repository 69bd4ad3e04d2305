#include "analyses/interventions/verdict.h"

#include <cmath>

namespace spikescope {

std::string verdict_on_values(double zero, double mean) {
  if (std::isnan(zero) || std::isnan(mean)) return "not tested";
  if (zero >= kCollapse && std::abs(mean) < kNothing) return "confirmed";
  return zero >= kNothing && std::abs(mean) < zero / 2 ? "partly" : "not confirmed";
}

}  // namespace spikescope
