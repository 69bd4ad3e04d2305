// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace spikescope {

class MappedFile {
 public:
  /// Maps the whole file. Throws Error when it is missing, empty, a folder, or unreadable.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  /// Brings a range into memory; returns when it is there.
  static void fetch(std::span<const std::byte> range);
  /// Bytes of a range that lie in memory, the system's page cache included, as far as it tells (it hides that of other
  /// users' files).
  static size_t resident(std::span<const std::byte> range);
  /// A range is needed no more: it counts to this process' memory no longer, and may be fetched again.
  static void release(std::span<const std::byte> range);

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// From now on the program ends with a message that names the file, and exit code 1, when a mapped file is cut short by
/// somebody else or its disk fails while it is in use. (The system tells of it by a signal, SIGBUS.)
void report_lost_files();

}  // namespace spikescope
