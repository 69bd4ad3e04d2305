// Where the shared fixtures lie, for tests that compare with transformers' own results.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace spikescope::testing {

/// The folder of shared fixtures: $SPIKESCOPE_SHARED, or `shared` beside the checkout.
inline std::filesystem::path shared_folder() {
  if (const char* folder = std::getenv("SPIKESCOPE_SHARED")) return folder;
  return std::filesystem::path(SPIKESCOPE_SOURCE_DIR).parent_path() / "shared";
}

/// A fresh folder below the system's temporary folder, removed at the end of its life.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "spikescope-test-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace spikescope::testing

/// Skips the test, saying why, in a checkout without the shared fixtures.
#define SKIP_WITHOUT_SHARED(relative)                                                                        \
  if (!std::filesystem::exists(::spikescope::testing::shared_folder() / (relative)))                         \
  GTEST_SKIP() << "no fixtures at " << (::spikescope::testing::shared_folder() / (relative)).string()        \
               << "; set SPIKESCOPE_SHARED to the folder that holds them"
