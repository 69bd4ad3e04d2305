// Where prompts lie among the rows of a pass, and which tokens they see.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace spikescope {

/// Prompts one after the other. One that goes on from a parent (TokenBatch::parents) has rows of its own and stands
/// behind the parent's: positions and keys count from the parent's first token.
struct PromptLayout {
  std::span<const int64_t> offsets;       ///< [prompts + 1] of rows
  std::span<const int64_t> parents = {};  ///< [prompts], -1: none; empty: none of any

  PromptLayout(std::span<const int64_t> row_offsets, std::span<const int64_t> parent_prompts)
      : offsets(row_offsets), parents(parent_prompts) {}
  PromptLayout(const std::vector<int64_t>& row_offsets) : offsets(row_offsets) {}  // prompts without parents

  int64_t prompts() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t parent(int64_t prompt) const { return parents.empty() ? -1 : parents[prompt]; }
  int64_t rows(int64_t prompt) const { return offsets[prompt + 1] - offsets[prompt]; }
  /// Position of the prompt's first row.
  int64_t base(int64_t prompt) const { return parent(prompt) < 0 ? 0 : rows(parent(prompt)); }
  /// Tokens up to the prompt's last one, the parent's included.
  int64_t length(int64_t prompt) const { return base(prompt) + rows(prompt); }
  int64_t longest() const {
    int64_t most = 0;
    for (int64_t prompt = 0; prompt < prompts(); ++prompt) most = std::max(most, length(prompt));
    return most;
  }
};

}  // namespace spikescope
