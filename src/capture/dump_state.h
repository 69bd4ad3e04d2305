// Where a capture stood when a layer was done: what --resume goes on from. Internal to capture.
#pragma once

#include <filesystem>
#include <vector>

#include "capture/dump.h"

namespace spikescope {

/// Writes the state under a temporary name and renames it. Throws Error on a full disk.
void write_state(const std::filesystem::path& path, const DumpState& state);

/// Reads it back; it is as untrusted as any file. Throws Error when it is damaged, or does not hold `rows` rows of
/// `columns` values and a layer from 1 to `layers` - 1.
DumpState read_state(const std::filesystem::path& path, int64_t rows, int64_t columns, int64_t layers);

}  // namespace spikescope
