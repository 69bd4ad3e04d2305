// The spikes' results in words: the sentence on top of the section, and its tables. All from the JSON alone.
#pragma once

#include <string>

#include "figure/figure.h"
#include "io/json.h"

namespace spikescope {

/// What was found: plateaus, what writes them, and what the published rule sees of them.
std::string spikes_summary(const Json& results);
/// Spike tokens by plateau: the first tokens a row, and each spelling inside the text.
Table spikes_table(const Json& results);
/// A row of `writers` each.
Table writers_table(const Json& results);

}  // namespace spikescope
