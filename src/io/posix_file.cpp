#include "io/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/fail.h"

namespace spikescope {
namespace {

struct Remedy {
  int error;
  std::string_view text;
};
constexpr Remedy kRemedies[] = {
    {ENOENT, "check the path"},
    {ENOTDIR, "a part of the path is a file, not a folder"},
    {EACCES, "check the permissions of the file and its folder"},
    {EPERM, "check the permissions of the file and its folder"},
    {EROFS, "choose a folder on a writable disk"},
    {EISDIR, "a file is expected, this is a folder"},
    {ENOSPC, "free some disk space or choose another folder"},
    {EDQUOT, "free some of the disk quota or choose another folder"},
    {EFBIG, "the file would exceed the limit on file sizes (ulimit -f, or the file system's own)"},
    {EMFILE, "raise the limit on open files (ulimit -n)"},
    {ENOMEM, "free some memory or raise the limit on address space (ulimit -v)"},
};

// Linux writes at most this many bytes at a time; smaller pieces also keep a signal from repeating much work.
constexpr size_t kLargestTransfer = size_t{1} << 30;

}  // namespace

void fail_with_errno(const std::filesystem::path& name, std::string_view action, int error) {
  std::string_view remedy = "check the disk and the path";
  for (const Remedy& row : kRemedies) {
    if (row.error == error) remedy = row.text;
  }
  fail("{}: cannot {}: {}; {}", name.string(), action, std::generic_category().message(error), remedy);
}

PosixFile PosixFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe must be refused below, not waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail_with_errno(path, "open", errno);
  PosixFile file(descriptor, path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail_with_errno(path, "examine", errno);
  if (S_ISDIR(status.st_mode)) fail("{}: is a folder; a file is expected here", path.string());
  if (!S_ISREG(status.st_mode))
    fail("{}: is not a regular file (a device or a pipe); copy it to a file first", path.string());
  file.size_ = static_cast<uint64_t>(status.st_size);
  return file;
}

PosixFile PosixFile::create(const std::filesystem::path& path, const std::filesystem::path& name, bool exclusive) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (exclusive ? O_EXCL : O_TRUNC);
  const int descriptor = ::open(path.c_str(), flags, 0666);
  if (descriptor < 0) fail_with_errno(name, "create", errno);
  return PosixFile(descriptor, name);
}

PosixFile::PosixFile(PosixFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), name_(std::move(other.name_)), size_(other.size_) {}

PosixFile::~PosixFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

size_t PosixFile::read(std::span<std::byte> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t count = ::read(descriptor_, buffer.data() + done, std::min(buffer.size() - done, kLargestTransfer));
    if (count == 0) break;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_with_errno(name_, "read", errno);
    done += static_cast<size_t>(count);
  }
  return done;
}

void PosixFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kLargestTransfer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_with_errno(name_, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void PosixFile::close() {
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_with_errno(name_, "write", errno);
}

}  // namespace spikescope
