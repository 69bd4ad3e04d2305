// safetensors checkpoints: a single file, or shards named by an index.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/tensor_table.h"

namespace spikescope {

struct SafetensorsFile {
  TensorTable tensors;
  std::map<std::string, std::string> metadata;  ///< `__metadata__` of the (first) file
  std::vector<std::filesystem::path> parts;
};

/// Maps and checks one .safetensors file, or all shards that a *.safetensors.index.json names (they lie beside it; a
/// shard name with a path in it is refused). Throws Error naming file, tensor, bytes expected and found.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

/// Writes float32 / int64 tensors as one safetensors file, through a temporary name. For tests, templates and exports.
struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;  ///< safetensors dtype, e.g. "F32", "I64"
  std::span<const std::byte> bytes;
};
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace spikescope
