// Names and texts out of hostile files, made fit for a one-line message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spikescope {

/// `text` with control characters and bytes that are not valid UTF-8 written as \xNN, and cut with "..." after about
/// `limit` bytes.
std::string printable(std::string_view text, size_t limit = 100);

}  // namespace spikescope
