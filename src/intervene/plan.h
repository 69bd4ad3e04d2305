// What to try on a model, chosen from what the baseline shows: nothing here knows a model.
#pragma once

#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "analyses/spikes/tracks.h"
#include "analyses/spikes/writers.h"
#include "capture/dump.h"
#include "intervene/edit.h"

namespace spikescope {

/// Edits made in one pass.
struct InterventionRun {
  std::string name;                ///< "zero, r12 to r28"
  std::string what;                ///< the same for all plateaus: "zero"
  std::optional<int64_t> plateau;  ///< index of the one that it is about; else all of them
  bool control = false;            ///< for comparison
  std::vector<Edit> edits;
  bool given = false;  ///< by the user
};

/// Plateaus that get runs of their own, at most: those of the largest value.
inline constexpr size_t kMostPlateaus = 4;
/// Clamps: shares of the plateau's value.
inline constexpr double kClamps[] = {0.2, 0.05};
/// Controls: so many random dimensions (or as many as there are spike dimensions, if these are more), and so many of
/// the largest dimensions of the spike tokens after the spike dimensions.
inline constexpr size_t kRandomDims = 3, kNextDims = 10;
/// Neurons of a writing block that are switched off: the largest that together write this share.
inline constexpr double kWrittenShare = 0.9;

/// For each plateau, at its first state: spike dimensions to zero, to their mean, random dimensions, next-largest
/// dimensions and the spike dimensions of ordinary tokens to zero; on all its states: clamps; and the neurons that
/// write it switched off, with as many random ones of the same blocks for comparison. Then on all plateaus: spike
/// dimensions to zero, without and with the templates (the means over spike tokens of what attention and MLP read) in
/// their place. Plateaus that no block reads are left out, as is what the architecture has no hook points for.
std::vector<InterventionRun> default_plan(const DumpReader& dump, const Architecture& architecture,
                                          std::span<const LayerScan> layers, std::span<const Plateau> plateaus,
                                          std::span<const Writer> writers, std::mt19937_64& random);

/// "r12 to r28".
std::string states_text(int64_t first, int64_t last);

}  // namespace spikescope
