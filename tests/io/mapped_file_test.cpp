#include "io/mapped_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "expect_error.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

TEST(MappedFile, BytesOfTheFile) {
  const TemporaryFolder folder;
  write_file(folder / "x", "hello");
  const MappedFile file(folder / "x");
  EXPECT_EQ(file.path(), folder / "x");
  ASSERT_EQ(file.bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello", 5), 0);
}

TEST(MappedFile, StaysValidWhenTheFileIsReplaced) {
  const TemporaryFolder folder;
  write_file(folder / "x", "hello");
  const MappedFile file(folder / "x");
  write_file(folder / "x", "bye");
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello", 5), 0);
}

TEST(MappedFile, AdviceChangesNoBytes) {
  const TemporaryFolder folder;
  std::string text(1'000'000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 >> 3);
  write_file(folder / "x", text);
  const MappedFile file(folder / "x");
  const auto bytes = file.bytes();
  for (const size_t first : {size_t{0}, size_t{1}, size_t{5000}, size_t{999'999}}) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{4096}, size_t{500'000}}) {
      const auto range = bytes.subspan(first, std::min(count, bytes.size() - first));
      MappedFile::fetch(range);
      EXPECT_EQ(MappedFile::resident(range), range.size());
      MappedFile::release(range);
    }
  }
  MappedFile::fetch({});
  EXPECT_EQ(MappedFile::resident({}), 0u);
  MappedFile::release({});
  EXPECT_EQ(std::memcmp(bytes.data(), text.data(), text.size()), 0);
}

TEST(MappedFileDeathTest, AFileCutShortWhileInUseEndsTheProgramWithItsName) {
  const TemporaryFolder folder;
  write_file(folder / "gone", "unrelated");
  write_file(folder / "cut", std::string(100'000, 'x'));
  EXPECT_EXIT(
      {
        report_lost_files();
        { const MappedFile gone(folder / "gone"); }
        const MappedFile file(folder / "cut");
        std::filesystem::resize_file(folder / "cut", 10);
        volatile std::byte byte = file.bytes()[50'000];
        static_cast<void>(byte);
      },
      ::testing::ExitedWithCode(1), "spikescope: .*/cut: a part of the file is gone");
}

TEST(MappedFile, BadInput) {
  const TemporaryFolder folder;
  expect_error([&] { MappedFile(folder / "absent"); }, {"absent", "No such file"});
  expect_error([&] { MappedFile(folder.path()); }, {folder.path().string(), "is a folder"});
  write_file(folder / "empty", "");
  expect_error([&] { MappedFile(folder / "empty"); }, {"/empty", "is empty"});
  expect_error([&] { MappedFile("/dev/null"); }, {"/dev/null", "not a regular file"});
}

}  // namespace
}  // namespace spikescope
