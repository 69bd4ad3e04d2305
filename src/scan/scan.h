// Candidates for spike dimensions, for the neurons that write and cancel them, and for the tokens they stand at, from
// the weights alone. Formulas and how far it goes: analyses/scan/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "families/checkpoint.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "scan/dimensions.h"

namespace spikescope {

struct ScanRequest {
  /// First blocks that the vocabulary goes through; 0: no tokens; -1: as far as the first block that writes a leading
  /// dimension, of at most kMostTokenBlocks.
  int token_blocks = -1;
  bool hash = false;  ///< the files' hash as well, from the same reading of them
};
inline constexpr int kMostTokenBlocks = 8;

/// A token of the vocabulary at a dimension.
struct TokenReach {
  int64_t id = 0;
  int64_t dim = 0;
  double value = 0.0;  ///< of the largest magnitude in the blocks gone through
  double times = 0.0;  ///< its magnitude over the vocabulary's median
};

/// The vocabulary, each token with the dimension where it stands out most; the most outstanding first.
struct TokenRanking {
  std::vector<TokenReach> tokens;
  std::vector<double> medians;  ///< [dims] of the magnitudes
};

struct ScanResult {
  std::string why_not;  ///< the model cannot be scanned; nothing else is there then
  std::vector<BlockWrites> blocks;
  std::vector<DimensionScore> dimensions;  ///< all d, best first
  std::vector<NeuronWrite> neurons;        ///< of the leading dimensions, best first
  std::vector<int64_t> token_dims;         ///< the leading dimensions, or the best one
  int token_blocks = 0;
  std::string why_no_tokens;   ///< empty: both rankings are there
  TokenRanking inside, first;  ///< by Walk
  std::string sha256;          ///< with ScanRequest::hash
};

/// Fraction done, 0 to 1, and the part at work.
using ScanProgress = std::function<void(double fraction, const std::string& part)>;

/// Reads the checkpoint block by block; one block's MLP is in memory at a time. Throws Error as ModelWeights::read
/// does.
ScanResult scan(const Checkpoint& checkpoint, const ScanRequest& request, const ScanProgress& progress);

/// The keys of scan.json with `top` dimensions and tokens and three times as many neurons.
Json to_json(const ScanResult& result, const Checkpoint& checkpoint, size_t top);
/// The arrays of scan.h5.
void write_arrays(const ScanResult& result, H5File& arrays);

}  // namespace spikescope
