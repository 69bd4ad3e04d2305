// Models: how a word becomes ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/word_cache.h"

namespace spikescope {

/// A place in a word that is being merged: a piece, and its neighbours.
struct MergeSymbol {
  int32_t id;  ///< -1: joined to the one before
  uint32_t previous, next;
};

/// The best way to a place in a word that is being cut: the score of the pieces up to there, and the last of them.
struct PathNode {
  double score;
  uint32_t begin;  ///< where the last piece begins
  int32_t id;
};

/// Memory that encoding uses again from word to word. One thread at a time.
struct Workspace {
  WordCache cache;
  std::vector<MergeSymbol> symbols;
  std::vector<PathNode> path;
  std::vector<uint32_t> ends;
};

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a word (well-formed UTF-8, not empty, fewer than 2^31 bytes).
  virtual void encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const = 0;
  /// For `inspect`: "BPE, 48900 merges".
  virtual std::string description() const = 0;
};

}  // namespace spikescope
