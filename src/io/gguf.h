// GGUF v2 / v3 checkpoints (the format of llama.cpp): metadata and tensor directory. Split files are joined.
#pragma once

#include <filesystem>

#include "io/json.h"
#include "io/tensor_table.h"

namespace spikescope {

struct GgufFile {
  std::filesystem::path path;  ///< first part when the file is split
  int version = 0;
  /// Key-value pairs under their full names ("llama.block_count"), numbers as JSON numbers, arrays as JSON arrays.
  /// Strings are raw bytes (vocabulary pieces need not be valid UTF-8): never dump() them unchecked.
  Json metadata;
  TensorTable tensors;
  std::vector<std::filesystem::path> parts;  ///< all files read, in order
};

/// Maps and checks `path` (any part of a split file NAME-00001-of-0000N.gguf; all parts must lie beside it). Throws
/// Error, naming file, key or tensor, byte offset, and what was expected: wrong magic or version, truncation anywhere,
/// counts or lengths beyond the file, offsets that are misaligned, outside the file or overlapping, duplicate names,
/// unknown types. Block types that are known by name but not supported are let in; reading such a tensor is the error.
GgufFile read_gguf(const std::filesystem::path& path);

}  // namespace spikescope
