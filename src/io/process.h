// Running another program without a shell.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace spikescope {

/// Ends of a child process: its exit code, or 128 + the signal that ended it; 127 when the program does not exist.
struct ProcessResult {
  int code = 0;
  std::string output;  ///< the last 64 KiB of standard output and error together
};

struct ProcessOptions {
  std::vector<std::pair<std::string, std::string>> variables;  ///< added to the environment
  /// Called about ten times a second while the program runs. When it throws, the program and its children are ended
  /// before the exception goes on.
  std::function<void()> wait;
};

/// Runs argv[0], looked up in PATH, with these arguments, without a shell. Standard input is empty; output goes to the
/// file `log`. Throws Error when the log cannot be written or the system refuses a process.
ProcessResult run_process(const std::vector<std::string>& argv, const std::filesystem::path& log,
                          const ProcessOptions& options = {});

}  // namespace spikescope
