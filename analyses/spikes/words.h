// The spikes' results in words: the sentence on top of the section, and its tables. All from the JSON alone.
#pragma once

#include <string>

#include "capture/dump.h"
#include "figure/figure.h"
#include "io/json.h"

namespace spikescope {

/// What was found: plateaus, what writes them, and what the published rule sees of them.
std::string spikes_summary(const Json& results);
/// Spike tokens by plateau: the first tokens a row, and each spelling inside the text.
Table spikes_table(const Json& results);
/// The largest |h| of the state, and the prompt in it, that hold the largest of all.
Table largest_table(const Json& results, const DumpTokens& tokens);
/// A row of `writers` each.
Table writers_table(const Json& results);

}  // namespace spikescope
