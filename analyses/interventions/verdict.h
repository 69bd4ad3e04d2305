// What a change of the loss means, in words.
#pragma once

#include <string>

namespace spikescope {

/// Below this difference of the loss, in nats, an intervention does nothing: 2 % of the perplexity.
inline constexpr double kNothing = 0.02;
/// From this one on, ln 10, a model collapses: ten times the perplexity.
inline constexpr double kCollapse = 2.302585092994046;

/// Whether arXiv 2402.17762 holds for a plateau, "set to zero the model collapses, set to their mean nothing happens",
/// from the two differences of the loss in nats. "confirmed"; "partly": zero harms, but less, or the mean harms less
/// than half as much; "not confirmed"; "not tested" where one is NaN.
std::string verdict_on_values(double zero, double mean);

}  // namespace spikescope
