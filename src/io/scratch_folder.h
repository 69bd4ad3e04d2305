// A folder that is gone when its owner is.
#pragma once

#include <filesystem>
#include <string>

namespace spikescope {

/// A fresh folder `prefix`XXXXXX below `parent`, removed with all it holds at the end of its life. Throws Error where
/// none can be made.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path(),
                         const std::string& prefix = "spikescope-");
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace spikescope
