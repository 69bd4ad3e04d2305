#include "io/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/fail.h"
#include "io/posix_file.h"

namespace spikescope {

namespace {

std::string tail(const std::filesystem::path& path, std::streamoff bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const std::streamoff size = file.tellg();
  std::string text(static_cast<size_t>(std::min(size, bytes)), '\0');
  file.seekg(size - static_cast<std::streamoff>(text.size()));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<std::string> result;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string text = *entry;
    const bool replaced = std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
      return text.compare(0, variable.first.size() + 1, variable.first + "=") == 0;
    });
    if (!replaced) result.push_back(text);
  }
  for (const auto& [name, value] : variables) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// The child is the leader of its own process group: the terminal's Ctrl-C reaches us alone, and ending the group ends
/// what the child started.
class Child {
 public:
  Child(std::vector<std::string> argv, std::vector<std::string> environment, const std::string& log) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    error_ = posix_spawnp(&pid_, argv[0].c_str(), &actions, &attributes, pointers(argv).data(),
                          pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Child() {
    if (error_ || reaped_) return;
    kill(-pid_, SIGTERM);
    for (int i = 0; i < 20 && !finished(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (!reaped_) {
      kill(-pid_, SIGKILL);
      while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
      }
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int error() const { return error_; }
  int status() const { return status_; }
  bool finished() {
    if (!reaped_) reaped_ = waitpid(pid_, &status_, WNOHANG) != 0;
    return reaped_;
  }

 private:
  pid_t pid_ = 0;
  int error_ = 0, status_ = 0;
  bool reaped_ = false;
};

}  // namespace

ProcessResult run_process(const std::vector<std::string>& argv, const std::filesystem::path& log,
                          const ProcessOptions& options) {
  if (const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600); file >= 0) {
    close(file);
  } else {
    fail_with_errno(log, "write", errno);
  }
  Child child(argv, environment_with(options.variables), log.string());
  if (child.error() == ENOENT || child.error() == EACCES) return {127, argv[0] + ": not found"};
  if (child.error())
    fail("cannot start {}: {}; free memory or processes and try again", argv[0], std::strerror(child.error()));
  // Short programs answer at once, long ones are looked at ten times a second.
  for (int milliseconds = 2; !child.finished(); milliseconds = std::min(2 * milliseconds, 100)) {
    if (options.wait) options.wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  }
  const int status = child.status();
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), tail(log, 64 << 10)};
}

}  // namespace spikescope
