// Prompts as token ids.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// Prompts, one after the other.
struct TokenBatch {
  std::vector<int64_t> ids;      ///< [N]
  std::vector<int64_t> offsets;  ///< [prompts + 1], from 0 to N; no prompt is empty
};

}  // namespace spikescope
