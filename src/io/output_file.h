// Results appear whole or not at all: output is written under a temporary name beside its target and renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace spikescope {

/// Holds the temporary path of a file in the making. commit() renames it onto the target; a destructor without commit()
/// removes it, so that a failing run leaves an older result as it was.
class OutputFile {
 public:
  /// Creates the parent folders. Throws Error when they cannot be made or written to.
  explicit OutputFile(std::filesystem::path target);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  const std::filesystem::path& target() const { return target_; }
  /// Renames onto the target. Throws Error, keeping the old target, when that fails.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool done_ = false;
};

/// Writes `text` to `path` by way of an OutputFile. Throws Error on a full disk or an unwritable folder.
void write_file(const std::filesystem::path& path, std::string_view text);

/// The whole file as bytes. Throws Error when it is missing, no regular file, or larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, int64_t max_bytes = int64_t{4} << 30);

}  // namespace spikescope
