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

  /// Tells the kernel that a range is needed soon / no more, so that checkpoints larger than memory stream through it.
  static void will_need(std::span<const std::byte> range);
  static void release(std::span<const std::byte> range);

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace spikescope
