// The merges of a BPE model: which pairs of pieces join, in which order, and into what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spikescope {

/// `left` and `right`, side by side, become `result`. Merges of lower rank go first.
struct MergeRule {
  int32_t left, right;
  uint32_t rank;
  int32_t result;
};

/// Rules by their pair: a hash table with open addressing.
class MergeTable {
 public:
  MergeTable() : MergeTable(std::vector<MergeRule>()) {}
  /// Of several rules for one pair the last counts.
  explicit MergeTable(const std::vector<MergeRule>& rules);

  /// nullptr when the pair does not merge.
  const MergeRule* find(int32_t left, int32_t right) const {
    for (size_t at = slot(left, right);; at = (at + 1) & mask_) {
      const MergeRule& rule = slots_[at];
      if (rule.result < 0) return nullptr;
      if (rule.left == left && rule.right == right) return &rule;
    }
  }
  size_t size() const { return size_; }
  uint32_t highest_rank() const { return highest_rank_; }

 private:
  size_t slot(int32_t left, int32_t right) const {
    const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
    return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> 32) & mask_;
  }
  std::vector<MergeRule> slots_;  // result < 0: free; at least half of them are
  size_t mask_ = 0;
  size_t size_ = 0;
  uint32_t highest_rank_ = 0;
};

}  // namespace spikescope
