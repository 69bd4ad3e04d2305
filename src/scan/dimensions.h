// Which dimensions the neurons of all blocks point at more than chance would have it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scan/block_writes.h"

namespace spikescope {

struct DimensionScore {
  int64_t dim = 0;
  /// How many dimensions of a model without special ones would stand out as much, as a power of ten. -3: one in a
  /// thousand such models has one.
  double log10_expected = 0.0;
  double largest = 0.0;  ///< bound of any block
  int largest_block = 0;
  int sign = 0;          ///< of the spike: what its neurons write first; 0: no telling
  bool leading = false;  ///< expected at most kMostExpected times, with at least kOfBest of the best one's evidence
};
inline constexpr double kMostExpected = 0.05;
inline constexpr double kOfBest = 0.5;

/// [blocks][d] -ln of the probability of a bound at least as large, among the block's dimensions: the logarithm of the
/// largest of many neurons' bounds follows a Gumbel distribution, taken from the quartiles over dimensions.
std::vector<std::vector<double>> surprises(std::span<const BlockWrites> blocks);

/// Best first. The surprises of a dimension add up over blocks (Fisher's method).
std::vector<DimensionScore> score_dimensions(std::span<const BlockWrites> blocks);

/// Neurons of all blocks that write to the leading dimensions (the best one, if none is leading), highest score first.
std::vector<NeuronWrite> rank_neurons(std::span<const BlockWrites> blocks, std::span<const DimensionScore> dimensions);

}  // namespace spikescope
