// A safetensors file written as its tensors come: the header first, then one tensor after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/output_file.h"
#include "io/posix_file.h"

namespace spikescope {

/// A tensor that the file will have.
struct TensorPlan {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;  ///< safetensors dtype, e.g. "F32", "I64"
};

class SafetensorsWriter {
 public:
  /// Writes the header, under a temporary name. Throws Error, naming the tensor, for a name that occurs twice or is not
  /// UTF-8, and for an unknown dtype.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorPlan> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// The next tensor's values, whole. Throws Error unless it is `name`'s turn and it has so many bytes.
  void write(const std::string& name, std::span<const std::byte> bytes);
  /// Puts the file in its place. Throws Error when tensors are missing.
  void finish();

  int64_t file_bytes() const { return file_bytes_; }

 private:
  std::filesystem::path path_;
  std::vector<TensorPlan> tensors_;
  std::vector<uint64_t> bytes_;  // of each
  size_t next_ = 0;
  int64_t file_bytes_ = 0;
  OutputFile output_;
  std::optional<PosixFile> file_;
};

}  // namespace spikescope
