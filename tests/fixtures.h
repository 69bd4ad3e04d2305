// Where the shared fixtures lie, for tests that compare with transformers' own results.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace spikescope::testing {

/// The folder of shared fixtures: $SPIKESCOPE_SHARED, or `shared` beside the checkout.
inline std::filesystem::path shared_folder() {
  if (const char* folder = std::getenv("SPIKESCOPE_SHARED")) return folder;
  return std::filesystem::path(SPIKESCOPE_SOURCE_DIR).parent_path() / "shared";
}

/// A folder for each model: those of the shared fixtures, and the part of them that lies in the repository.
inline std::filesystem::path shared_models() { return shared_folder() / "fixtures/models"; }
inline std::filesystem::path kept_models() { return std::filesystem::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden"; }
/// A model's folder, kept or shared (where it need not exist).
inline std::filesystem::path golden_model(const std::string& name) {
  const std::filesystem::path kept = kept_models() / name;
  return std::filesystem::exists(kept) ? kept : shared_models() / name;
}

/// Why a test that needs this folder or file of the shared fixtures is skipped.
inline std::string no_fixtures_at(const std::filesystem::path& path) {
  return "no fixtures at " + path.string() + "; set SPIKESCOPE_SHARED to the folder that holds them";
}

/// Where `spikescope models fetch smollm2-135m` puts the real model; scripts/test.sh fetches it.
inline std::filesystem::path cached_model(const char* file) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path folder = cache && *cache ? cache : std::filesystem::path(home ? home : "/") / ".cache";
  return folder / "spikescope/models" / file;
}
inline std::filesystem::path smollm2_file() { return cached_model("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"); }
inline std::filesystem::path gemma3_file() { return cached_model("gemma-3-270m/gemma-3-270m-q4_k_m.gguf"); }

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

/// Skips the test where the real model has not been fetched.
#define SKIP_WITHOUT_SMOLLM2()                                         \
  if (!std::filesystem::exists(::spikescope::testing::smollm2_file())) \
  GTEST_SKIP() << "SmolLM2 is not fetched; run: build/spikescope models fetch smollm2-135m"

#define SKIP_WITHOUT_GEMMA3()                                         \
  if (!std::filesystem::exists(::spikescope::testing::gemma3_file())) \
  GTEST_SKIP() << "Gemma 3 is not fetched; run: build/spikescope models fetch gemma-3-270m"

/// Skips the test, saying why, in a checkout without the shared fixtures.
#define SKIP_WITHOUT_SHARED(relative)                                                \
  if (!std::filesystem::exists(::spikescope::testing::shared_folder() / (relative))) \
  GTEST_SKIP() << ::spikescope::testing::no_fixtures_at(::spikescope::testing::shared_folder() / (relative))
