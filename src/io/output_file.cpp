#include "io/output_file.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include "base/fail.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

// Unique among the processes and threads that write to the folder.
std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<int> serial{0};
  std::filesystem::path temporary = target;
  temporary += fmt::format(".part-{}-{}", ::getpid(), serial++);
  return temporary;
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) fail("{}: is a folder; name a file to write", target_.string());
  std::error_code error;
  // Through a symbolic link the file it names is replaced, not the link.
  if (std::filesystem::is_symlink(target_, error)) {
    const auto real = std::filesystem::weakly_canonical(target_, error);
    if (!error) target_ = real;
  }
  if (std::filesystem::is_directory(target_, error)) fail("{}: is a folder; name a file to write", target_.string());
  if (std::filesystem::exists(target_, error) && !std::filesystem::is_regular_file(target_, error)) {
    fail("{}: is not a regular file and would be replaced; name another file to write", target_.string());
  }
  if (target_.has_parent_path()) {
    std::filesystem::create_directories(target_.parent_path(), error);
    if (error) fail_with_errno(target_.parent_path(), "create the folder", error.value());
  }
  temporary_ = temporary_beside(target_);
  PosixFile::create(temporary_, target_, true);
}

OutputFile::~OutputFile() {
  std::error_code ignored;
  if (!done_) std::filesystem::remove(temporary_, ignored);
}

void OutputFile::commit() {
  std::error_code error;
  std::filesystem::rename(temporary_, target_, error);
  if (error) fail_with_errno(target_, "put the finished file in place", error.value());
  done_ = true;
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  OutputFile output(path);
  PosixFile file = PosixFile::create(output.temporary(), path, false);
  file.write(text);
  file.close();
  output.commit();
}

std::string read_file(const std::filesystem::path& path, int64_t max_bytes) {
  PosixFile file = PosixFile::open(path);
  if (file.size() > static_cast<uint64_t>(max_bytes)) {
    fail("{}: has {} bytes, at most {} are expected in such a file; check that it is the right one", path.string(),
         file.size(), max_bytes);
  }
  std::string text(file.size(), '\0');
  text.resize(file.read(std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace spikescope
