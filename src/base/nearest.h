// "Did you mean": the name nearest to a mistyped one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace spikescope {

/// The candidate with the smallest edit distance to `name`; empty when none is within a third of its length.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace spikescope
