#include "io/output_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "expect_error.h"
#include "fixtures.h"

namespace spikescope {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

size_t files_in(const std::filesystem::path& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(OutputFile, CommitPutsTheFileInPlace) {
  const TemporaryFolder folder;
  const auto target = folder / "a" / "b" / "result.txt";
  OutputFile output(target);
  EXPECT_EQ(output.target(), target);
  EXPECT_EQ(output.temporary().parent_path(), target.parent_path());
  EXPECT_TRUE(std::filesystem::exists(output.temporary()));  // the folder is known to be writable
  std::ofstream(output.temporary()) << "text";
  EXPECT_FALSE(std::filesystem::exists(target));
  output.commit();
  EXPECT_EQ(read_file(target), "text");
  EXPECT_EQ(files_in(target.parent_path()), 1u);
}

TEST(OutputFile, WithoutCommitTheOldResultStays) {
  const TemporaryFolder folder;
  write_file(folder / "result.txt", "old");
  {
    const OutputFile output(folder / "result.txt");
    std::ofstream(output.temporary()) << "half";
  }
  EXPECT_EQ(read_file(folder / "result.txt"), "old");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(OutputFile, TwoAtOnceDoNotMeet) {
  const TemporaryFolder folder;
  OutputFile one(folder / "x"), two(folder / "x");
  EXPECT_NE(one.temporary(), two.temporary());
}

TEST(OutputFile, FailedRenameKeepsTheOldResult) {
  const TemporaryFolder folder;
  OutputFile output(folder / "x");
  std::filesystem::create_directory(folder / "x");
  expect_error([&] { output.commit(); }, {"/x", "in place"});
  EXPECT_TRUE(std::filesystem::is_directory(folder / "x"));
}

TEST(OutputFile, BadTargets) {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  expect_error([&] { OutputFile(folder.path()); }, {folder.path().string(), "folder"});
  expect_error([&] { OutputFile(folder.path() / ""); }, {"folder"});
  expect_error([&] { OutputFile(folder / "file" / "below"); }, {"file", "create the folder"});
  expect_error([&] { OutputFile(folder / "file" / "far" / "below"); }, {"file", "create the folder"});
  expect_error([&] { OutputFile("/proc/no-such-folder/x"); }, {"/proc/no-such-folder", "create the folder"});
  expect_error([&] { OutputFile("/dev/null"); }, {"/dev/null", "not a regular file"});
}

TEST(OutputFile, UnwritableFolder) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0500), 0);
  expect_error([&] { write_file(folder / "x", "y"); }, {"/x", "Permission denied", "permissions"});
  ::chmod(folder.path().c_str(), 0700);
}

TEST(OutputFile, ASymbolicLinkStays) {
  const TemporaryFolder folder;
  write_file(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "real"), "new");
}

TEST(WriteFile, AnyBytes) {
  const TemporaryFolder folder;
  const std::string bytes("a\0b\xff\n", 5);
  write_file(folder / "x", bytes);
  EXPECT_EQ(read_file(folder / "x"), bytes);
  write_file(folder / "x", "");
  EXPECT_EQ(read_file(folder / "x"), "");
}

TEST(WriteFile, AFullDiskKeepsTheOldResult) {
  const TemporaryFolder folder;
  write_file(folder / "x", "old");
  // A limit on file sizes stands in for a full disk: the write comes back short, then fails.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error([&] { write_file(folder / "x", std::string(100'000, 'y')); },
               {"/x", "cannot write", "limit on file sizes"});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(ReadFile, BadInput) {
  const TemporaryFolder folder;
  expect_error([&] { read_file(folder / "absent"); }, {"absent", "No such file", "check the path"});
  expect_error([&] { read_file(folder.path()); }, {folder.path().string(), "folder"});
  expect_error([&] { read_file("/dev/zero"); }, {"/dev/zero", "not a regular file"});
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error([&] { read_file(folder / "pipe"); }, {"pipe", "not a regular file"});  // and no waiting for a writer
  write_file(folder / "x", "12345");
  EXPECT_EQ(read_file(folder / "x", 5), "12345");
  expect_error([&] { read_file(folder / "x", 4); }, {"/x", "5 bytes", "at most 4"});
}

}  // namespace
}  // namespace spikescope
