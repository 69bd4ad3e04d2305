// Cutting text into what readers take for characters.
#pragma once

#include <functional>
#include <string_view>

namespace spikescope {

/// Calls `visit` with every extended grapheme cluster of well-formed UTF-8, in order.
void for_each_grapheme(std::string_view text, const std::function<void(std::string_view grapheme)>& visit);

}  // namespace spikescope
