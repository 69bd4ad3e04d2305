// Numbers for people.
#pragma once

#include <cstdint>
#include <string>

namespace spikescope {

/// "512 B", "3.4 MiB", "1.2 GiB".
std::string format_bytes(int64_t bytes);
/// "23,147": thousands separated.
std::string format_count(int64_t count);

}  // namespace spikescope
