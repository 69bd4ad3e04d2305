// One member of a wheel (a zip archive), as a stream of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace spikescope {

/// Hands the bytes of `member` to `sink`, a piece at a time. Throws Error naming the wheel and the member when the
/// wheel is no zip archive or is cut off, has no such member, or the member is encrypted, larger than `max_bytes` (by
/// its header or when unpacked), or does not have the checksum that the archive states. Returns the number of bytes.
int64_t unpack_wheel_member(const std::filesystem::path& wheel, const std::string& member, int64_t max_bytes,
                            const std::function<void(const char* data, size_t size)>& sink);

}  // namespace spikescope
