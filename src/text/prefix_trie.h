// The pieces that a text begins with, all of them in one walk.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace spikescope {

/// A trie of strings with a number each. Nodes lie level by level, the children of a node side by side in the order of
/// their bytes, so that a step touches one or two cache lines.
class PrefixTrie {
 public:
  static constexpr uint32_t kRoot = 0, kNone = UINT32_MAX;

  /// The pieces of a vocabulary with their ids. Throws Error for pieces longer than any vocabulary has.
  explicit PrefixTrie(const Vocabulary& vocabulary);
  /// Keys with their numbers, which are >= 0. Of equal keys the last counts; an empty key is never found.
  explicit PrefixTrie(std::vector<std::pair<std::string_view, int32_t>> entries);

  /// The node that `byte` leads to; kNone when there is none.
  uint32_t step(uint32_t node, char byte) const {
    if (node == kRoot) return from_root_[static_cast<uint8_t>(byte)];
    const Node& at = nodes_[node];
    for (uint32_t child = at.first, count = at.children; count > 0;) {  // the first label that is not less
      const uint32_t half = count / 2;
      const uint8_t label = labels_[child + half];
      if (label == static_cast<uint8_t>(byte)) return child + half;
      if (label < static_cast<uint8_t>(byte)) {
        child += half + 1;
        count -= half + 1;
      } else {
        count = half;
      }
    }
    return kNone;
  }
  /// The node that `text` leads to from `node`; kNone when there is none.
  uint32_t walk(uint32_t node, std::string_view text) const;
  /// Number of the key that ends at a node; -1 when none does.
  int32_t value(uint32_t node) const { return nodes_[node].value; }

 private:
  struct Node {
    uint32_t first = 0;  ///< its first child
    uint32_t children = 0;
    int32_t value = -1;
  };
  std::vector<Node> nodes_;
  std::vector<uint8_t> labels_;  ///< the byte that leads to each node
  std::array<uint32_t, 256> from_root_;
};

}  // namespace spikescope
