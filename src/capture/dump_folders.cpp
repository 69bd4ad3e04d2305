#include "capture/dump_folders.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "base/fail.h"
#include "capture/dump_layout.h"
#include "io/json.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;

bool holds_dump(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / dump_layout::kIndex, ignored);
}

// A descriptor of the folder that holds its lock; -1 when another process does. The folder itself is locked, not a file
// in it: nothing is left behind, and there is nothing that a cleaning run could remove under another one's hands. On
// file systems without locks the run goes on without.
int lock_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_with_errno(folder, "open", errno);
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) break;
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

std::string process_at_work(const fs::path& out) {
  try {
    const auto run = dump_layout::staging(out) / dump_layout::kRun;
    return fmt::format(" (process {})", json_get<int64_t>(read_json_file(run), "process", run.string()));
  } catch (const Error&) {
    return "";  // it has not got so far yet
  }
}

// Called with the lock held.
void put_back(const fs::path& out) {
  std::error_code error, ignored;
  const fs::path dump = dump_layout::folder(out), old = dump_layout::old(out);
  if (fs::exists(dump, ignored) || !holds_dump(old)) return;
  fs::rename(old, dump, error);
  if (error)
    fail_with_errno(old, fmt::format("put the dump of an earlier run back in place as {}", dump.string()),
                    error.value());
}

}  // namespace

DumpStaging::DumpStaging(fs::path out, bool resume) : out_(std::move(out)), path_(dump_layout::staging(out_)) {
  std::error_code error, ignored;
  fs::create_directories(out_, error);
  if (error) fail_with_errno(out_, "create the folder", error.value());
  lock_ = lock_folder(out_);
  if (lock_ < 0)
    fail("{}: another run{} is writing a dump there; wait for it, or name another folder", out_.string(),
         process_at_work(out_));
  try {
    put_back(out_);
    const fs::path dump = dump_layout::folder(out_);
    if (holds_dump(dump)) {
      fs::remove_all(dump_layout::old(out_), ignored);
    } else if (fs::exists(dump, ignored) && !(fs::is_directory(dump, ignored) && fs::is_empty(dump, ignored))) {
      fail("{}: is no dump (it has no index.h5) and would be replaced; move it away, or name another folder",
           dump.string());
    }
    resumes_ = resume && fs::is_regular_file(path_ / dump_layout::kState, ignored);
    if (!resumes_) fs::remove_all(path_, error);
    if (error) fail_with_errno(path_, "remove what an earlier run left in", error.value());
    fs::create_directories(path_ / dump_layout::kLayers, error);
    if (error) fail_with_errno(path_, "create the folder", error.value());
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

DumpStaging::~DumpStaging() {
  std::error_code ignored;
  if (!keep_) fs::remove_all(path_, ignored);
  ::close(lock_);
}

void DumpStaging::publish() {
  std::error_code error, ignored;
  const fs::path dump = dump_layout::folder(out_), old = dump_layout::old(out_);
  const bool replaces = fs::exists(dump, ignored);
  if (replaces) {
    fs::remove_all(old, ignored);
    fs::rename(dump, old, error);
    if (error) fail_with_errno(dump, "replace the old dump", error.value());
  }
  fs::rename(path_, dump, error);
  if (error) {
    if (replaces) fs::rename(old, dump, ignored);
    fail_with_errno(dump, "put the finished dump in place", error.value());
  }
  keep_ = true;
  fs::remove_all(old, ignored);  // the next run tries again
}

void recover_dump(const fs::path& out) {
  // A live run is between its two renames for microseconds only.
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::error_code ignored;
    if (fs::exists(dump_layout::folder(out), ignored) || !holds_dump(dump_layout::old(out))) return;
    const int lock = lock_folder(out);
    if (lock >= 0) {
      try {
        put_back(out);
      } catch (...) {
        ::close(lock);
        throw;
      }
      ::close(lock);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  fail("{}: a run{} is replacing the dump; try again", out.string(), process_at_work(out));
}

}  // namespace spikescope
