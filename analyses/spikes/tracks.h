// From the spike tokens of single states to spikes that live over layers, and to plateaus. README.md has the
// definitions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "analyses/residual_scan.h"

namespace spikescope {

/// A token that is a spike in every state of r_birth .. r_(death - 1).
struct SpikeRun {
  int64_t prompt = 0, token = 0;
  int64_t birth = 0;
  int64_t death = -1;         ///< -1: alive in the last state
  int64_t peak = 0;           ///< state of the largest magnitude
  std::vector<int64_t> dims;  ///< spike dimensions at the peak, largest first
  double value = 0.0;         ///< signed, of dims[0] at the peak
  double ratio = 0.0;         ///< |value| over the median of the window at the peak
};

/// In order of prompt, token, birth. `layers`: r_0 .. r_L as scan_residuals() returns them.
std::vector<SpikeRun> spike_runs(std::span<const LayerScan> layers);

/// A run of states over which the spikes stay in their dimensions and on their level.
struct Plateau {
  int64_t first = 0, last = 0;
  std::vector<int64_t> dims;   ///< spike dimensions in at least half of the members' states, largest first
  std::vector<double> values;  ///< of each of dims: signed lower median over the members' states
  std::vector<std::pair<int64_t, int64_t>> tokens;  ///< members as {prompt, token}, in order
  int64_t windows = 0;                              ///< with at least one member
  std::vector<double> errors{};  ///< of values: standard errors over windows; NaN below two windows
};
/// Spikes keep their level from one state to the next while the value changes by less than this factor (half the
/// energy).
inline constexpr double kSameLevel = 1.4142135623730951;

/// In order of layers; they do not overlap.
std::vector<Plateau> find_plateaus(std::span<const LayerScan> layers);

}  // namespace spikescope
