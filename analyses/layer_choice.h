// Blocks that a user chooses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace spikescope {

/// Ranges of blocks, both ends included; nothing: the program chooses.
using LayerChoice = std::optional<std::vector<std::pair<int64_t, int64_t>>>;

/// Reads "auto" (nothing), "all", "none", or blocks and ranges: "0,12-20,31". Throws UsageError naming `option` for
/// anything else.
LayerChoice parse_layers(const std::string& text, const std::string& option);

/// The blocks, ascending, each once; `chosen` must be a choice. Those of "all" are 0 .. blocks - 1.
std::vector<int64_t> chosen_blocks(const LayerChoice& chosen, int64_t blocks);

/// Throws UsageError naming `option` when the choice names a block that is not among 0 .. blocks - 1.
void check_layers(const LayerChoice& chosen, int64_t blocks, const std::string& option);

}  // namespace spikescope
