// Which module writes a spike and which takes it away: the change of the spike's dimension a block, split into
// attention and MLP, and the MLP's part into neurons.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "analyses/analysis.h"
#include "analyses/spikes/tracks.h"
#include "stats/window_mean.h"

namespace spikescope {

struct NeuronShare {
  int64_t index = 0;
  double share = 0.0;  ///< act_j W_down[dim, j] over the sum of all j
  double error = 0.0;  ///< its standard error over windows (jackknife); NaN below two windows
};

/// A block that changes the spikes of a plateau, in one dimension. Values are means over `spikes` tokens.
struct Writer {
  int64_t block = 0, dim = 0;
  int64_t plateau = 0;  ///< index of the plateau whose spikes are written or cancelled
  int64_t spikes = 0;   ///< members of the plateau whose rows the dump has for this block
  WindowMean mlp, attention;
  bool cancels = false;              ///< the change goes against the sign of the plateau's value
  std::vector<NeuronShare> neurons;  ///< largest share first; empty without weights or MLP activations
};
/// Blocks that change a spike by less than this share of its plateau's value in the dimension are left out.
inline constexpr double kLeastChange = 0.05;
/// Neurons listed: at most so many, each with at least this share.
inline constexpr size_t kMostNeurons = 10;
inline constexpr double kLeastShare = 0.01;

struct Writers {
  std::vector<Writer> rows;  ///< by block, then dimension
  std::string note;          ///< why neurons (or everything) are missing; empty when nothing is
};

Writers find_writers(const AnalysisInput& input, std::span<const Plateau> plateaus);

}  // namespace spikescope
