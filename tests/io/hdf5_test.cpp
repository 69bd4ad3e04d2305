#include "io/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "io/output_file.h"
#include "tests/disk_limits.h"
#include "tests/error_of.h"
#include "tests/fixtures.h"
#include "tests/hdf5_leaks.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryFolder;
using Shape = std::vector<int64_t>;

std::vector<float> ramp(int64_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(Hdf5, WholeDatasetsOfEveryType) {
  const TemporaryFolder folder;
  {
    H5File file = H5File::create(folder / "a.h5");
    file.write<double>("/numbers/doubles", {1.5, -2.5});
    file.write<int64_t>("/numbers/integers", {INT64_MIN, 7, INT64_MAX});
    file.write<std::string>("/strings", {"", "Ġthe", "two words", std::string(100'000, 'x')});
    const auto values = ramp(24);
    file.write<float>("/floats", Shape{2, 3, 4}, values);
    file.write<float>("/scalar", Shape{}, std::vector<float>{3.0f});
    file.write<float>("/empty", Shape{0, 5}, std::vector<float>{});
    file.write<std::string>("/no_strings", std::vector<std::string>{});
    file.close();
  }
  const H5File file = H5File::open(folder / "a.h5");
  EXPECT_THAT(file.read<double>("/numbers/doubles"), ElementsAre(1.5, -2.5));
  EXPECT_THAT(file.read<int64_t>("/numbers/integers"), ElementsAre(INT64_MIN, 7, INT64_MAX));
  EXPECT_THAT(file.read<std::string>("/strings"), ElementsAre("", "Ġthe", "two words", std::string(100'000, 'x')));
  EXPECT_EQ(file.read<float>("/floats"), ramp(24));
  EXPECT_EQ(file.shape("/floats"), (Shape{2, 3, 4}));
  EXPECT_THAT(file.read<float>("/scalar"), ElementsAre(3.0f));
  EXPECT_EQ(file.shape("/scalar"), Shape{});
  EXPECT_THAT(file.read<float>("/empty"), IsEmpty());
  EXPECT_EQ(file.shape("/empty"), (Shape{0, 5}));
  EXPECT_THAT(file.read<std::string>("/no_strings"), IsEmpty());
  EXPECT_THAT(file.read<double>("/floats"),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23));
  EXPECT_THAT(file.children("/"), ElementsAre("empty", "floats", "no_strings", "numbers", "scalar", "strings"));
  EXPECT_THAT(file.children("/numbers"), ElementsAre("doubles", "integers"));
  EXPECT_THAT(file.children("/nothing/here"), IsEmpty());
  EXPECT_TRUE(file.has("/numbers"));
  EXPECT_TRUE(file.has("/numbers/doubles"));
  EXPECT_FALSE(file.has("/numbers/triples"));
  EXPECT_FALSE(file.has("/a/b/c"));
}

class Hdf5Storage : public ::testing::TestWithParam<H5Storage> {};

TEST_P(Hdf5Storage, PiecesAlongTheFirstDimension) {
  const TemporaryFolder folder;
  constexpr int64_t kRows = 1000, kWidth = 600;
  std::vector<float> values(kRows * kWidth);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 2048) - 1000.0f;  // exact in float16
  values[5] = -INFINITY;
  {
    H5File file = H5File::create(folder / "a.h5");
    file.declare("/x", Shape{kRows, 20, 30}, GetParam());
    // Pieces that fall between the borders of chunks, the last ones in reverse order.
    const auto put = [&](int64_t first, int64_t count) {
      file.write_rows("/x", first, count, std::span(values).subspan(first * kWidth, count * kWidth));
    };
    put(0, 333);
    put(333, 0);
    put(333, 267);
    put(900, 100);
    put(600, 300);
    put(0, 10);  // again, now that it is full
    file.write<float>("/whole", Shape{kRows, kWidth}, values, GetParam());
    file.close();
  }
  const H5File file = H5File::open(folder / "a.h5");
  EXPECT_EQ(file.shape("/x"), (Shape{kRows, 20, 30}));
  EXPECT_EQ(file.read<float>("/x"), values);
  EXPECT_EQ(file.read<float>("/whole"), values);
  const auto some = file.read_rows("/x", 599, 3);
  EXPECT_EQ(some, std::vector<float>(values.begin() + 599 * kWidth, values.begin() + 602 * kWidth));
  EXPECT_THAT(file.read_rows("/x", kRows, 0), IsEmpty());
  const auto bytes = std::filesystem::file_size(folder / "a.h5");
  const size_t plain = 2 * values.size() * (GetParam().half ? 2 : 4);
  if (GetParam().gzip > 0) {
    EXPECT_LT(bytes, plain / 2);
  } else {
    EXPECT_GE(bytes, plain);
    EXPECT_LT(bytes, plain + 10'000);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Hdf5Storage,
                         ::testing::Values(H5Storage{}, H5Storage{true, 0}, H5Storage{false, 1}, H5Storage{true, 9}),
                         [](const auto& info) {
                           return std::string(info.param.half ? "half" : "single") + "_gzip" +
                                  std::to_string(info.param.gzip);
                         });

TEST(Hdf5, ChunksOfRowsLargerThanAMebibyte) {
  const TemporaryFolder folder;
  std::vector<float> values(2 * 700 * 700, 1.0f);
  values.back() = 2.0f;
  H5File file = H5File::create(folder / "a.h5");
  file.write<float>("/x", Shape{2, 700, 700}, values, {.gzip = 1});
  EXPECT_EQ(file.read<float>("/x"), values);
}

TEST(Hdf5, Float16RefusesWhatItCannotHold) {
  const TemporaryFolder folder;
  H5File file = H5File::create(folder / "a.h5");
  file.declare("/blocks/2/resid_post", Shape{10, 4}, {.half = true});
  std::vector<float> values(8, 65504.0f);
  file.write_rows("/blocks/2/resid_post", 0, 2, values);
  values[6] = -71234.5f;
  EXPECT_THAT(
      error_of([&] { file.write_rows("/blocks/2/resid_post", 4, 2, values); }),
      AllOf(HasSubstr("a.h5"), HasSubstr("/blocks/2/resid_post, row 5"), HasSubstr("-71234.5"), HasSubstr("float32")));
  EXPECT_THAT(file.read_rows("/blocks/2/resid_post", 0, 2), ::testing::Each(65504.0f));
  EXPECT_THAT(error_of([&] { file.write<int64_t>("/i", Shape{1}, std::vector<int64_t>{1}, {.half = true}); }),
              HasSubstr("float16"));
}

TEST(Hdf5, Attributes) {
  const TemporaryFolder folder;
  const std::string long_text(200'000, 'j');
  {
    H5File file = H5File::create(folder / "a.h5");
    file.write<int64_t>("/x", {1});
    file.set_attribute("/", "config", long_text);
    file.set_attribute("/", "empty", "");
    file.set_attribute("/", "command", "spikescope run --prompt 'Grüße'");
    file.set_attribute("/x", "version", int64_t{1});
    file.set_attribute("/x", "version", int64_t{2});
    EXPECT_THAT(error_of([&] { file.set_attribute("/y", "a", "b"); }), HasSubstr("has no /y"));
    EXPECT_THAT(error_of([&] { file.set_attribute("/", "a", std::string_view("a\0b", 3)); }), HasSubstr("NUL"));
  }
  const H5File file = H5File::open(folder / "a.h5");
  EXPECT_EQ(file.string_attribute("/", "config"), long_text);
  EXPECT_EQ(file.string_attribute("/", "empty"), "");
  EXPECT_EQ(file.string_attribute("/", "command"), "spikescope run --prompt 'Grüße'");
  EXPECT_EQ(file.int_attribute("/x", "version"), 2);
  EXPECT_TRUE(file.has_attribute("/", "config"));
  EXPECT_FALSE(file.has_attribute("/", "version"));
  EXPECT_FALSE(file.has_attribute("/y", "version"));
  EXPECT_THAT(error_of([&] { file.int_attribute("/", "config"); }),
              AllOf(HasSubstr("\"config\" of /"), HasSubstr("integer")));
  EXPECT_THAT(error_of([&] { file.string_attribute("/x", "version"); }), HasSubstr("should be a string"));
  EXPECT_THAT(error_of([&] { file.string_attribute("/", "model"); }), HasSubstr("no attribute \"model\""));
}

TEST(Hdf5, ExternalLinks) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "dump/layers");
  {
    H5File layer = H5File::create(folder / "dump/layers/003.h5");
    layer.write<int64_t>("/blocks/3/x", {1, 2, 3});
    H5File index = H5File::create(folder / "dump/index.h5");
    index.link_external("/blocks/3", "layers/003.h5", "/blocks/3");
    index.link_external("/blocks/4", "layers/004.h5", "/blocks/4");
    index.link_external("/blocks/5", "layers/003.h5", "/blocks/5");
    index.link_external("/blocks/6", "layers", "/blocks/5");
  }
  std::filesystem::rename(folder / "dump", folder / "moved");
  const H5File index = H5File::open(folder / "moved/index.h5");
  EXPECT_TRUE(index.has("/blocks/3"));
  EXPECT_TRUE(index.has("/blocks/3/x"));
  EXPECT_FALSE(index.has("/blocks/3/y"));
  EXPECT_THAT(index.read<int64_t>("/blocks/3/x"), ElementsAre(1, 2, 3));
  EXPECT_THAT(index.children("/blocks"), ElementsAre("3", "4", "5", "6"));
  EXPECT_THAT(index.children("/blocks/3"), ElementsAre("x"));
  // A file of that name in the current folder must not step in.
  const auto here = std::filesystem::current_path();
  std::filesystem::create_directories(folder / "elsewhere/layers");
  std::filesystem::copy(folder / "moved/layers/003.h5", folder / "elsewhere/layers/004.h5");
  std::filesystem::current_path(folder / "elsewhere");
  const std::string missing = error_of([&] { index.has("/blocks/4/x"); });
  std::filesystem::current_path(here);
  EXPECT_THAT(missing, AllOf(HasSubstr("/blocks/4"), HasSubstr("layers/004.h5"), HasSubstr("missing")));
  EXPECT_THAT(error_of([&] { index.has("/blocks/5"); }), AllOf(HasSubstr("003.h5"), HasSubstr("has no /blocks/5")));
  EXPECT_THAT(error_of([&] { index.read<int64_t>("/blocks/6/x"); }), HasSubstr("missing"));
  write_file(folder / "moved/layers/004.h5", "this is no HDF5 file");
  EXPECT_THAT(error_of([&] { index.has("/blocks/4/x"); }), AllOf(HasSubstr("layers/004.h5"), HasSubstr("cannot read")));
}

TEST(Hdf5, WrongCallsSayWhatIsWrong) {
  const TemporaryFolder folder;
  H5File file = H5File::create(folder / "a.h5");
  file.write<int64_t>("/integers", {1, 2});
  file.write<std::string>("/strings", {"a"});
  file.write<float>("/floats", Shape{2, 2}, std::vector<float>{1, 2, 3, 4});
  file.write<float>("/scalar", Shape{}, std::vector<float>{1});
  EXPECT_THAT(error_of([&] { file.read<float>("/integers"); }),
              AllOf(HasSubstr("a.h5"), HasSubstr("/integers"), HasSubstr("floating")));
  EXPECT_THAT(error_of([&] { file.read<int64_t>("/floats"); }), HasSubstr("integers"));
  EXPECT_THAT(error_of([&] { file.read<std::string>("/floats"); }), HasSubstr("strings"));
  EXPECT_THAT(error_of([&] { file.read<float>("/strings"); }), HasSubstr("floating"));
  EXPECT_THAT(error_of([&] { file.read<float>("/nothing"); }), HasSubstr("has no /nothing"));
  EXPECT_THAT(error_of([&] { file.read<float>("/"); }), HasSubstr("no dataset"));
  EXPECT_THAT(error_of([&] { file.children("/floats"); }), HasSubstr("no group"));
  EXPECT_THAT(error_of([&] { file.shape("floats"); }), HasSubstr("\"floats\" is no path"));
  EXPECT_THAT(error_of([&] { file.shape("//floats"); }), HasSubstr("is no path"));
  EXPECT_THAT(error_of([&] { file.read_rows("/floats", 1, 2); }), HasSubstr("2 from row 1"));
  EXPECT_THAT(error_of([&] { file.read_rows("/floats", -1, 1); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { file.read_rows("/floats", INT64_MAX, INT64_MAX); }), HasSubstr("2 rows"));
  EXPECT_THAT(error_of([&] { file.read_rows("/scalar", 0, 1); }), HasSubstr("without rows"));
  EXPECT_THAT(error_of([&] { file.write_rows("/floats", 0, 1, std::vector<float>(3)); }),
              HasSubstr("take 2 values, 3"));
  EXPECT_THAT(error_of([&] { file.write_rows("/nothing", 0, 1, std::vector<float>(3)); }),
              HasSubstr("has no /nothing"));
  EXPECT_THAT(error_of([&] { file.write<float>("/f", Shape{3}, std::vector<float>(2)); }),
              HasSubstr("takes 3 values, 2"));
  EXPECT_THAT(error_of([&] { file.write<float>("/f", Shape{-3}, std::vector<float>(2)); }),
              HasSubstr("impossible shape [-3]"));
  EXPECT_THAT(error_of([&] {
                file.declare("/f", Shape{int64_t{1} << 40, int64_t{1} << 40});
              }),
              HasSubstr("impossible shape"));
  EXPECT_THAT(error_of([&] { file.declare("/f", Shape{}); }), HasSubstr("first dimension"));
  EXPECT_THAT(error_of([&] { file.declare("/f", Shape{1}, {.gzip = 10}); }), HasSubstr("gzip level 10"));
  EXPECT_THAT(error_of([&] { file.write<int64_t>("/integers", {1}); }), HasSubstr("/integers"));
  EXPECT_THAT(error_of([&] {
                file.write<std::string>("/s", {"a", std::string("b\0c", 3)});
              }),
              HasSubstr("string 1 holds a NUL"));
  EXPECT_THAT(error_of([&] { file.link_external("/integers", "b.h5", "/x"); }), HasSubstr("make the link /integers"));
  file.close();
  file.close();  // harmless
  EXPECT_THAT(error_of([&] { file.has("/floats"); }), HasSubstr("after the file was closed"));
}

TEST(Hdf5, FilesThatCannotBeOpened) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { H5File::open(folder / "none.h5"); }),
              AllOf(HasSubstr("none.h5"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { H5File::open(folder.path()); }), HasSubstr("is a folder"));
  write_file(folder / "text.h5", std::string(5000, 'x'));
  EXPECT_THAT(error_of([&] { H5File::open(folder / "text.h5"); }), AllOf(HasSubstr("text.h5"), HasSubstr("signature")));
  write_file(folder / "empty.h5", "");
  EXPECT_THAT(error_of([&] { H5File::open(folder / "empty.h5"); }), HasSubstr("empty.h5"));
  EXPECT_THAT(error_of([&] { H5File::create(folder / "no/such/folder.h5"); }),
              AllOf(HasSubstr("folder.h5"), HasSubstr("No such file")));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { H5File::open(folder / "pipe"); }), HasSubstr("not a regular file"));
}

TEST(Hdf5, MovingKeepsTheFile) {
  const TemporaryFolder folder;
  H5File first = H5File::create(folder / "a.h5");
  H5File second = std::move(first);
  second.write<int64_t>("/x", {1});
  H5File third = H5File::create(folder / "b.h5");
  third = std::move(second);
  EXPECT_THAT(third.read<int64_t>("/x"), ElementsAre(1));
}

TEST(Hdf5, DifferentFilesFromDifferentThreads) {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto path = folder / (std::to_string(t) + ".h5");
      H5File file = H5File::create(path);
      for (int i = 0; i < 20; ++i) {
        file.write<int64_t>("/" + std::to_string(i), {t, i});
        EXPECT_THAT(file.read<int64_t>("/" + std::to_string(i)), ElementsAre(t, i));
        EXPECT_NE(error_of([&] { file.shape("/none"); }), "");
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Hdf5, ClaimsOfAHeaderAreNotAllocated) {
  const TemporaryFolder folder;
  {
    H5File file = H5File::create(folder / "a.h5");
    file.declare("/plain", Shape{int64_t{1} << 45});
    file.declare("/gzip", Shape{int64_t{1} << 35, 4}, {.gzip = 1});
    file.declare("/part", Shape{int64_t{1} << 35, 4}, {.gzip = 1});
    file.write_rows("/part", 0, 100'000, ramp(400'000));
  }
  const H5File file = H5File::open(folder / "a.h5");
  EXPECT_THAT(error_of([&] { file.read<float>("/plain"); }),
              AllOf(HasSubstr("/plain"), HasSubstr("the file has 0 of them")));
  EXPECT_THAT(error_of([&] { file.read_rows("/plain", 1000, 10); }), HasSubstr("the file has 0 of them"));
  EXPECT_THAT(error_of([&] { file.read<float>("/gzip"); }), HasSubstr("the file has 0 of them"));
  EXPECT_THAT(error_of([&] { file.read<float>("/part"); }), HasSubstr("should hold 549755813888 bytes"));
}

TEST(Hdf5, DamagedBytesAreErrorsOrOtherValues) {
  const TemporaryFolder folder;
  {
    H5File file = H5File::create(folder / "a.h5");
    file.set_attribute("/", "version", int64_t{1});
    file.write<float>("/group/x", ramp(20));
    file.write<float>("/group/y", Shape{20}, ramp(20), {.gzip = 1});
  }
  const std::string bytes = read_file(folder / "a.h5");
  int errors = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (at % 2 ? 0xff : 0x01));
    write_file(folder / "b.h5", damaged);
    errors += error_of([&] {
                const H5File file = H5File::open(folder / "b.h5");
                file.int_attribute("/", "version");
                for (const std::string& name : file.children("/group"))
                  EXPECT_EQ(file.read<float>("/group/" + name).size(), 20u);
              }) != "";
  }
  EXPECT_GT(errors, 400);  // the rest hits values and unused space
}

TEST(Hdf5, TruncatedFilesAreErrors) {
  const TemporaryFolder folder;
  {
    H5File file = H5File::create(folder / "a.h5");
    file.set_attribute("/", "format", "test");
    file.write<float>("/group/x", ramp(1000));
  }
  const std::string bytes = read_file(folder / "a.h5");
  for (size_t size = 0; size < bytes.size(); size += size < 200 ? 1 : 97) {
    write_file(folder / "b.h5", std::string_view(bytes).substr(0, size));
    EXPECT_NE(error_of([&] { H5File::open(folder / "b.h5").read<float>("/group/x"); }), "") << size;
  }
}

TEST(Hdf5, FileThatMayNotGrow) {
  const TemporaryFolder folder;
  std::string data_error, close_error;
  {
    const testing::FileSizeLimit limit(100'000);
    H5File file = H5File::create(folder / "a.h5");
    data_error = error_of([&] { file.write<float>("/x", ramp(1'000'000)); });
    H5File other = H5File::create(folder / "b.h5");
    close_error = error_of([&] {
      // Room for nearly all: the library notices when it flushes what it held back.
      other.declare("/x", Shape{24'400});
      other.write_rows("/x", 0, 24'400, ramp(24'400));
      for (int i = 0; i < 100; ++i) other.set_attribute("/x", "name " + std::to_string(i), std::string(100, 'x'));
      other.close();
    });
  }
  EXPECT_THAT(data_error, AllOf(HasSubstr("a.h5"), HasSubstr("write /x"), HasSubstr("File too large")));
  EXPECT_THAT(close_error, AllOf(HasSubstr("b.h5"), HasSubstr("File too large")));
}

TEST(Hdf5, FullDisk) {
  const TemporaryFolder folder;
  const testing::TinyDisk disk(folder.path(), 1 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tiny disk takes the rights of root";
  {
    H5File file = H5File::create(folder / "a.h5");
    EXPECT_THAT(error_of([&] { file.write<float>("/x", ramp(1'000'000)); }),
                AllOf(HasSubstr((folder / "a.h5").string()), HasSubstr("No space left on device")));
  }
  std::filesystem::remove(folder / "a.h5");
  EXPECT_THAT(error_of([&] {
                H5File file = H5File::create(folder / "b.h5");
                for (int i = 0; i < 10'000; ++i) file.write<int64_t>("/group " + std::to_string(i) + "/x", {1});
                file.close();
              }),
              AllOf(HasSubstr("b.h5"), HasSubstr("No space left on device")));
}

}  // namespace
}  // namespace spikescope
