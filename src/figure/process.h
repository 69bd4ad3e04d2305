// Running gnuplot and fc-list, without a shell.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace spikescope {

/// Runs argv[0], looked up in PATH, with nothing on standard input; standard output and error go to the file `output`.
/// Returns its exit code, 128 + the signal that ended it, or 127 when there is no such program. Throws Error when the
/// system refuses a process.
int run_program(std::vector<std::string> argv, const std::filesystem::path& output);

/// A folder of its own below the system's temporary folder, gone at the end. Throws Error where none can be made.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace spikescope
