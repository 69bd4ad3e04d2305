// An open file descriptor with the name that messages use. Internal to io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace spikescope {

class PosixFile {
 public:
  /// Opens a regular file for reading. Throws Error when it is missing, a folder, a device or pipe, or unreadable.
  static PosixFile open(const std::filesystem::path& path);
  /// Opens a file for writing from its start; `name` stands for it in messages. With `exclusive` it must not exist yet.
  static PosixFile create(const std::filesystem::path& path, const std::filesystem::path& name, bool exclusive);
  PosixFile(PosixFile&& other) noexcept;
  PosixFile& operator=(PosixFile&&) = delete;
  ~PosixFile();

  int descriptor() const { return descriptor_; }
  uint64_t size() const { return size_; }  ///< in bytes, when it was opened
  /// Fills as much of `buffer` as the file still has; the number of bytes read, 0 at the end.
  size_t read(std::span<std::byte> buffer);
  /// Writes all of `bytes`. Throws Error on a full disk.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Closes; throws Error where the destructor cannot: some file systems report a full disk only here.
  void close();

 private:
  PosixFile(int descriptor, std::filesystem::path name) : descriptor_(descriptor), name_(std::move(name)) {}
  int descriptor_ = -1;
  std::filesystem::path name_;
  uint64_t size_ = 0;
};

/// Throws Error "NAME: cannot ACTION: reason; remedy" for an errno.
[[noreturn]] void fail_with_errno(const std::filesystem::path& name, std::string_view action, int error);

}  // namespace spikescope
