// From the tokens that an edit names to rows of the pass.
#pragma once

#include <random>
#include <span>
#include <vector>

#include "analyses/residual_scan.h"
#include "intervene/edit.h"

namespace spikescope {

/// Where EditTokens::ordinary are drawn from: positions from here on, where a window has any (the first tokens of a
/// text are peculiar, spikes or not).
inline constexpr int64_t kFirstOrdinary = 8;

/// Finds the rows of each edit. `layers`: r_0 .. r_L of the baseline. Ordinary tokens are drawn once an edit, for all
/// its layers, as many as the window has spike tokens at the first of them.
std::vector<PlacedEdit> place_edits(std::span<const Edit> edits, const DumpTokens& tokens,
                                    std::span<const LayerScan> layers, std::mt19937_64& random);

}  // namespace spikescope
