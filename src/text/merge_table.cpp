#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace spikescope {

MergeTable::MergeTable(const std::vector<MergeRule>& rules) {
  slots_.assign(std::bit_ceil(std::max<size_t>(rules.size() * 2, 2)), {-1, -1, 0, -1});
  mask_ = slots_.size() - 1;
  for (const MergeRule& rule : rules) {
    size_t at = slot(rule.left, rule.right);
    while (slots_[at].result >= 0 && (slots_[at].left != rule.left || slots_[at].right != rule.right)) {
      at = (at + 1) & mask_;
    }
    size_ += slots_[at].result < 0;
    slots_[at] = rule;
    highest_rank_ = std::max(highest_rank_, rule.rank);
  }
}

}  // namespace spikescope
