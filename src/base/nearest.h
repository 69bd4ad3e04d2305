// "Did you mean": the name nearest to a mistyped one.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace spikescope {

/// Levenshtein distance: insertions, deletions and substitutions that make one of the other. Takes time of the product
/// of the lengths.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance to `name`; empty when none is within a third of its length.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace spikescope
