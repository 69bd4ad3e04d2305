// What the neurons of a block could write into the residual stream, dimension by dimension.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights.h"

namespace spikescope {

/// A neuron and a dimension that it could write to.
struct NeuronWrite {
  int block = 0;
  int expert = -1;    ///< -1: not of an expert; kSharedExpert: of the MLP that all tokens go through besides
  int64_t index = 0;  ///< of the neuron, within its MLP
  int64_t dim = 0;
  double bound = 0.0;  ///< largest |write| on any input
  double share = 0.0;  ///< of the length of what it writes to all dimensions, 0 .. 1
  /// Which way: the further it is from 0, the less it can do the other way; +1 only upward, -1 only downward.
  double lean = 0.0;
  double score = 0.0;  ///< share times bound over BlockWrites::ordinary
};
inline constexpr int kSharedExpert = -2;

/// Of one block.
struct BlockWrites {
  std::vector<double> bounds;  ///< [d] the largest bound of any neuron; 0: nothing writes there
  double ordinary = 0.0;       ///< median over neurons of the largest bound that each has in any dimension
  /// [d] the neurons with the highest score, best first, at most kNeuronsKept of each dimension.
  std::vector<std::vector<NeuronWrite>> neurons;
};
inline constexpr size_t kNeuronsKept = 16;

/// Why a model's blocks have no such bounds; empty: they have.
std::string why_no_bounds(const Architecture& architecture);

/// Where no norm stands behind the MLP, a write is |W_down[dim, j]| times the neuron's reach, times LayerScale. Where
/// one does, it is at most what a neuron alone would write: sqrt(d) gain[dim] |W_down[dim, j]| / |W_down[:, j]|. An
/// expert's weight counts as the largest it can be. Reads the block's MLP, one expert at a time. Throws Error as
/// ModelWeights::read does.
BlockWrites block_writes(const ModelWeights& weights, int block);

}  // namespace spikescope
