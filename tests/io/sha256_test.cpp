#include "io/sha256.h"

#include <gtest/gtest.h>

#include <vector>

#include "expect_error.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

// FIPS 180-2, appendix B.
constexpr auto kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr auto kMillionA = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
constexpr auto kNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Sha256, KnownHashes) {
  const TemporaryFolder folder;
  write_file(folder / "abc", "abc");
  write_file(folder / "million", std::string(1'000'000, 'a'));
  write_file(folder / "empty", "");
  EXPECT_EQ(sha256_file(folder / "abc"), kAbc);
  EXPECT_EQ(sha256_file(folder / "million"), kMillionA);
  EXPECT_EQ(sha256_file(folder / "empty"), kNothing);
}

TEST(Sha256, SeveralPartsAreHashedAsOne) {
  const TemporaryFolder folder;
  write_file(folder / "1", "a");
  write_file(folder / "2", "");
  write_file(folder / "3", "bc");
  EXPECT_EQ(sha256_files(std::vector{folder / "1", folder / "2", folder / "3"}), kAbc);
  EXPECT_NE(sha256_files(std::vector{folder / "3", folder / "1"}), kAbc);
}

TEST(Sha256, ProgressGrowsToOne) {
  const TemporaryFolder folder;
  write_file(folder / "x", std::string(5 << 20, 'x'));
  std::vector<double> seen;
  sha256_file(folder / "x", [&](double part) { seen.push_back(part); });
  ASSERT_GE(seen.size(), 3u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen.front(), 0);
  EXPECT_EQ(seen.back(), 1);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1.0), 1);
}

TEST(Sha256, BadInput) {
  const TemporaryFolder folder;
  expect_error([&] { sha256_file(folder / "absent"); }, {"absent", "No such file"});
  expect_error([&] { sha256_file(folder.path()); }, {"folder"});
  expect_error([&] { sha256_files({}); }, {"no file"});
}

}  // namespace
}  // namespace spikescope
