// Checks that every checkpoint format needs: sizes without overflow, places without overlap. Internal to io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_table.h"

namespace spikescope {

/// Bytes of a tensor. Nothing when a dimension is negative, the number of values (zero dimensions counted as one, so
/// that no product of some of them overflows either) or of bytes exceeds 2^62, or the values are not whole blocks.
std::optional<int64_t> checked_bytes(std::span<const int64_t> shape, const ValueFormat& format);

/// "[2, 3]".
std::string shape_text(std::span<const int64_t> shape);

/// A tensor's bytes in its file, for the checks below.
struct ByteRange {
  uint64_t begin = 0, end = 0;
  std::string_view name;
};

/// Sorts by place. Throws Error naming file, both tensors and the byte when two ranges share one.
void check_no_overlap(std::vector<ByteRange>& ranges, std::string_view file);

/// What a file is that does not begin as it should, where that can be told, with the remedy: "It is a Git LFS pointer
/// ...".
std::string_view foreign_file_hint(std::span<const std::byte> bytes);

}  // namespace spikescope
