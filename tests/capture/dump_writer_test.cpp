#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "capture/dump.h"
#include "capture/dump_fixture.h"
#include "io/output_file.h"
#include "tests/disk_limits.h"
#include "tests/fixtures.h"
#include "tests/hdf5_leaks.h"

namespace spikescope {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DumpWriter, StridedRowsAndPiecesLargerThanABuffer) {
  const TemporaryFolder out;
  DumpTokens tokens;
  constexpr int64_t kRows = 300, kSize = 20'000, kStride = 20'001;
  tokens.ids.assign(kRows, 1);
  tokens.strings.assign(kRows, "");
  tokens.offsets = {0, kRows};
  tokens.prompts = {Json::object()};
  const auto values = ramp(0, kRows * kStride);
  {
    DumpWriter writer(out.path(), make_info(), tokens, {.queue_bytes = 1});
    writer.declare({Point::mlp_post, 0}, {kSize});
    writer.write({Point::mlp_post, 0}, 0, values.data(), kRows, kSize, kStride);
    writer.finish("");
  }
  const DumpReader dump(out.path());
  for (const int64_t row : {0, 103, 104, 105, 299}) {
    const auto got = dump.read({Point::mlp_post, 0}, row, 1);
    EXPECT_EQ(got, std::vector<float>(values.begin() + row * kStride, values.begin() + row * kStride + kSize)) << row;
  }
}

TEST(DumpWriter, OldDumpStaysUntilTheNewOneIsWhole) {
  const TemporaryFolder out;
  write_dump(out.path(), {}, "old");
  {
    DumpWriter writer(out.path(), make_info(), make_tokens(), {});
    write_block(writer, 0);
    writer.finish_block(0);
    EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
    EXPECT_TRUE(fs::exists(out / "dump.partial/run.json"));
  }
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
  write_dump(out.path(), {}, "new");
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "new");
}

TEST(DumpWriter, RunIsDescribedBesideFinishedLayers) {
  const TemporaryFolder out;
  DumpWriter writer(out.path(), make_info(), make_tokens(), {.storage = "float16", .gzip = 2});
  write_block(writer, 0);
  writer.finish_block(0);
  write_block(writer, 1);
  writer.finish_block(1);
  const auto run = read_json_file(out / "dump.partial/run.json");
  EXPECT_EQ(run["format"], "spikescope-dump");
  EXPECT_EQ(run["version"], 1);
  EXPECT_EQ(run["process"], getpid());
  EXPECT_EQ(run["model"], "/models/tiny");
  EXPECT_EQ(run["storage"], "float16");
  EXPECT_EQ(run["gzip"], 2);
  EXPECT_EQ(run["config"]["n_layers"], kLayers);
  EXPECT_EQ(run["tokens"], kN);
  EXPECT_EQ(run["prompts"], 2);
  EXPECT_EQ(run["tokens_fnv1a"].get<std::string>().size(), 16u);
  writer.finish("");
  EXPECT_FALSE(fs::exists(out / "dump/run.json"));
}

TEST(DumpWriter, AnotherLiveRunIsLeftAlone) {
  const TemporaryFolder out;
  DumpWriter writer(out.path(), make_info(), make_tokens(), {});
  const std::string expected = "process " + std::to_string(getpid());
  EXPECT_THAT(error_of([&] { DumpWriter(out.path(), make_info(), make_tokens(), {}); }),
              AllOf(HasSubstr(out.path().string()), HasSubstr("another run"), HasSubstr(expected)));
  write_block(writer, 0);
  writer.finish("");
  EXPECT_TRUE(DumpReader(out.path()).has({Point::resid_post, 0}));
}

TEST(DumpWriter, LeftoversOfAKilledRunAreReplaced) {
  const TemporaryFolder out;
  write_dump(out.path(), {}, "old");
  const pid_t child = fork();
  if (child == 0) {
    DumpWriter writer(out.path(), make_info(), make_tokens(), {});
    write_block(writer, 0);
    writer.finish_block(0);
    _exit(0);  // without the destructor
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(out / "dump.partial/run.json"));
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
  write_dump(out.path(), {}, "new");
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "new");
}

TEST(DumpWriter, ReaderPutsBackWhatADyingRunMovedAway) {
  const TemporaryFolder out;
  write_dump(out.path());
  fs::rename(out / "dump", out / "dump.old");
  fs::create_directories(out / "dump.partial/layers");
  EXPECT_EQ(DumpReader(out.path()).residual(1, 0), ramp(0, 3 * kD));
  EXPECT_TRUE(fs::exists(out / "dump/index.h5"));
  EXPECT_FALSE(fs::exists(out / "dump.old"));
}

TEST(DumpWriter, WriterPutsBackWhatADyingRunMovedAway) {
  const TemporaryFolder out;
  write_dump(out.path());
  fs::rename(out / "dump", out / "dump.old");
  { DumpWriter writer(out.path(), make_info(), make_tokens(), {}); }
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  fs::copy(out / "dump", out / "dump.old", fs::copy_options::recursive);  // died before it removed the old one
  { DumpWriter writer(out.path(), make_info(), make_tokens(), {}); }
  EXPECT_EQ(names_in(out.path()), kWholeDump);
}

TEST(DumpWriter, FoldersThatCannotBeUsed) {
  const TemporaryFolder out;
  const auto open = [](const fs::path& path) {
    return error_of([&] { DumpWriter(path, make_info(), make_tokens(), {}); });
  };
  EXPECT_THAT(open("/proc/spikescope"), HasSubstr("/proc/spikescope: cannot create the folder"));
  write_file(out / "file", "x");
  EXPECT_THAT(open(out / "file"), HasSubstr("file"));
  EXPECT_THAT(open(out / "file/below"), HasSubstr("Not a directory"));
  write_file(out / "photos/dump/cat.jpg", "x");
  EXPECT_THAT(open(out / "photos"), AllOf(HasSubstr("photos/dump"), HasSubstr("is no dump")));
  EXPECT_TRUE(fs::exists(out / "photos/dump/cat.jpg"));
  EXPECT_FALSE(fs::exists(out / "photos/dump.partial"));
  if (geteuid() != 0) {
    fs::create_directory(out / "locked");
    fs::permissions(out / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_THAT(open(out / "locked"), HasSubstr("Permission denied"));
  }
  EXPECT_THAT(error_of([&] { DumpReader(out / "none"); }),
              AllOf(HasSubstr("none/dump/index.h5"), HasSubstr("spikescope capture")));
}

TEST(DumpWriter, WrongCalls) {
  const TemporaryFolder out;
  const auto opening = [&](auto change) {
    return error_of([&] {
      auto info = make_info();
      auto tokens = make_tokens();
      DumpOptions options;
      change(info, tokens, options);
      DumpWriter(out.path(), info, tokens, options);
    });
  };
  EXPECT_THAT(opening([](auto&, auto& tokens, auto&) {
                tokens.offsets = {0, 5, 5};
              }),
              HasSubstr("at least one token a prompt"));
  EXPECT_THAT(opening([](auto&, auto& tokens, auto&) { tokens.offsets = {0, 3, 6}; }), HasSubstr("offsets"));
  EXPECT_THAT(opening([](auto&, auto& tokens, auto&) { tokens.offsets = {0}; }), HasSubstr("offsets"));
  EXPECT_THAT(opening([](auto&, auto& tokens, auto&) { tokens.strings.pop_back(); }), HasSubstr("4 strings"));
  EXPECT_THAT(opening([](auto&, auto& tokens, auto&) { tokens.prompts.clear(); }), HasSubstr("0 prompts"));
  EXPECT_THAT(opening([](auto&, auto&, auto& options) { options.storage = "bfloat16"; }), HasSubstr("bfloat16"));
  EXPECT_THAT(opening([](auto&, auto&, auto& options) { options.gzip = 10; }), HasSubstr("gzip level 10"));
  EXPECT_THAT(opening([](auto& info, auto&, auto&) { info.config.erase("d_model"); }), HasSubstr("d_model"));

  DumpWriter writer(out.path(), make_info(), make_tokens(), {});
  const HookPoint point{Point::resid_post, 0}, pattern{Point::pattern, 0};
  const auto data = ramp(0, 100);
  const auto write = [&](int64_t first, int64_t rows, int64_t size, int64_t stride) {
    return error_of([&] { writer.write(point, first, data.data(), rows, size, stride); });
  };
  EXPECT_THAT(write(0, 1, kD, kD), HasSubstr("blocks.0.resid_post is written, but was not declared"));
  EXPECT_THAT(error_of([&] { writer.declare(point, {0}); }), HasSubstr("impossible shape"));
  EXPECT_THAT(error_of([&] { writer.declare(point, {}); }), HasSubstr("at least one dimension"));
  EXPECT_THAT(error_of([&] { writer.declare(pattern, {kHeads, 3, 3}); }), HasSubstr("expected [heads]"));
  EXPECT_THAT(error_of([&] { writer.declare({Point::q, 0}, {INT64_MAX, 2}); }), HasSubstr("impossible shape"));
  writer.declare(point, {kD});
  EXPECT_THAT(error_of([&] { writer.declare(point, {kD}); }), HasSubstr("declared twice"));
  EXPECT_THAT(write(0, 6, kD, kD), HasSubstr("rows 0 to 6"));
  EXPECT_THAT(write(-1, 1, kD, kD), HasSubstr("rows -1"));
  writer.declare({Point::resid_mid, 0}, {kD});
  EXPECT_THAT(error_of([&] {
                writer.write({Point::resid_mid, 0}, 0, data.data(), 1, 3, 3);
              }),
              HasSubstr("expected rows of 4"));
  EXPECT_EQ(write(0, 2, kD, kD), "");
  EXPECT_THAT(write(1, 2, kD, kD), HasSubstr("row 1 of blocks.0.resid_post is written twice"));
  EXPECT_THAT(error_of([&] { writer.finish_block(0); }), HasSubstr("never came"));
  EXPECT_THAT(error_of([&] { writer.finish(""); }), HasSubstr("never came"));
  EXPECT_THAT(error_of([&] { writer.finish_block(-1); }), HasSubstr("no block -1"));
  EXPECT_THAT(error_of([&] { writer.write_losses({1.0f}); }), HasSubstr("losses has 1 values, expected 5"));

  const auto sinks = [&](auto change) {
    auto statistics = make_sinks(false);
    change(statistics);
    return error_of([&] { writer.write_sinks(0, statistics); });
  };
  EXPECT_THAT(sinks([](auto& s) { s.heads = 0; }), HasSubstr("without heads"));
  EXPECT_THAT(sinks([](auto& s) { s.column_sums.pop_back(); }), HasSubstr("column_sums has 9"));
  EXPECT_THAT(sinks([](auto& s) { s.late_column_sums.pop_back(); }), HasSubstr("late_column_sums"));
  EXPECT_THAT(sinks([](auto& s) { s.entropy.pop_back(); }), HasSubstr("entropy"));
  EXPECT_THAT(sinks([](auto& s) { s.values.pop_back(); }), HasSubstr("values"));
  EXPECT_THAT(sinks([](auto& s) { s.columns.pop_back(); }), HasSubstr("1 columns for 2"));
  EXPECT_THAT(sinks([](auto& s) { s.columns[0].pop_back(); }), HasSubstr("a column"));
  EXPECT_THAT(sinks([](auto& s) { s.tokens[1] = {1, 2}; }), HasSubstr("token 2 of prompt 1"));
  const auto writers = [&](auto change) {
    auto rows = make_writers(false);
    change(rows);
    return error_of([&] { writer.write_writers(0, rows); });
  };
  EXPECT_THAT(writers([](auto& w) { w.d_model = 0; }), HasSubstr("width 0"));
  EXPECT_THAT(writers([](auto& w) { w.attention.pop_back(); }), HasSubstr("attention"));
  EXPECT_THAT(writers([](auto& w) { w.mlp.pop_back(); }), HasSubstr("mlp"));
  EXPECT_THAT(writers([](auto& w) { w.width = 0; }), HasSubstr("mlp_post"));
  EXPECT_THAT(writers([](auto& w) { w.tokens[0] = {2, 0}; }), HasSubstr("prompt 2"));

  EXPECT_EQ(write(2, 3, kD, kD), "");
  writer.write({Point::resid_mid, 0}, 1, data.data(), 4, kD, kD);
}

TEST(DumpWriter, NothingAfterTheEnd) {
  const TemporaryFolder out;
  DumpWriter writer(out.path(), make_info(), make_tokens(), {});
  write_block(writer, 0);
  writer.finish_block(0);
  EXPECT_THAT(error_of([&] { writer.declare({Point::k, 0}, {3}); }), HasSubstr("after finish_block"));
  EXPECT_THAT(error_of([&] { writer.write_sinks(0, make_sinks(true)); }), HasSubstr("after finish_block"));
  writer.finish("");
  EXPECT_THAT(error_of([&] { writer.write_sinks(1, make_sinks(true)); }), HasSubstr("after finish()"));
  EXPECT_THAT(error_of([&] { writer.write_losses(ramp(0, kN)); }), HasSubstr("after finish()"));
  EXPECT_THAT(error_of([&] { writer.finish(""); }), HasSubstr("twice"));
}

TEST(DumpWriter, Float16NamesTheValueItCannotHold) {
  const TemporaryFolder out;
  write_dump(out.path(), {}, "old");
  const std::string message = error_of([&] {
    DumpWriter writer(out.path(), make_info(), make_tokens(), {.storage = "float16"});
    writer.declare({Point::resid_post, 1}, {kD});
    auto values = ramp(0, kN * kD);
    values[4 * kD + 2] = 70000.0f;
    writer.write({Point::resid_post, 1}, 0, values.data(), 2, kD, kD);
    writer.write({Point::resid_post, 1}, 2, values.data() + 2 * kD, 3, kD, kD);
    writer.finish("");
  });
  EXPECT_THAT(message,
              AllOf(HasSubstr("blocks.1.resid_post, row 4"), HasSubstr("70000"), HasSubstr("--storage float32")));
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
  EXPECT_EQ(names_in(out.path()), kWholeDump);
}

// Scores are -inf where a query cannot see; float16 can hold that.
TEST(DumpWriter, InfinitiesPassThroughFloat16) {
  const TemporaryFolder out;
  {
    DumpWriter writer(out.path(), make_info(), make_tokens(), {.storage = "float16"});
    writer.declare({Point::scores, 0}, {1});
    auto values = ramp(0, 9);
    values[1] = -INFINITY;
    writer.write({Point::scores, 0}, 0, values.data(), 1, 9, 9);
    writer.write({Point::scores, 0}, 1, values.data(), 1, 4, 4);
    writer.finish("");
  }
  EXPECT_THAT(DumpReader(out.path()).read({Point::scores, 0}, 1, 1), ElementsAre(0, -INFINITY, 2, 3));
}

// Writes more than the disk takes; the Error's message.
std::string overflow(const fs::path& out) {
  return error_of([&] {
    DumpTokens tokens;
    constexpr int64_t kRows = 1000, kSize = 1000;
    tokens.ids.assign(kRows, 1);
    tokens.strings.assign(kRows, "");
    tokens.offsets = {0, kRows};
    tokens.prompts = {Json::object()};
    const auto values = ramp(0, kRows * kSize);
    DumpWriter writer(out, make_info(), tokens, {});
    for (int layer = 0; layer < 2; ++layer) {
      writer.declare({Point::resid_post, layer}, {kSize});
      writer.write({Point::resid_post, layer}, 0, values.data(), kRows, kSize, kSize);
      writer.finish_block(layer);
    }
    writer.finish("");
  });
}

TEST(DumpWriter, FullDiskLeavesTheOldDump) {
  const TemporaryFolder out;
  const TinyDisk disk(out.path(), 6 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tiny disk takes the rights of root";
  write_dump(out.path(), {}, "old");
  EXPECT_THAT(overflow(out.path()),
              AllOf(HasSubstr("dump.partial/layers/001.h5"), HasSubstr("No space left on device")));
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
  write_dump(out.path(), {}, "new");
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "new");
}

TEST(DumpWriter, FileThatMayNotGrowLeavesTheOldDump) {
  const TemporaryFolder out;
  write_dump(out.path(), {}, "old");
  std::string message;
  {
    const FileSizeLimit limit(1 << 20);
    message = overflow(out.path());
  }
  EXPECT_THAT(message, AllOf(HasSubstr("layers/000.h5"), HasSubstr("File too large")));
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  EXPECT_EQ(DumpReader(out.path()).info().model_sha256, "old");
}

TEST(DumpWriter, EstimateCoversTheFiles) {
  const TemporaryFolder out;
  DumpTokens tokens;
  constexpr int64_t kRows = 3000;
  tokens.ids.assign(kRows, 1);
  tokens.strings.assign(kRows, "Ġpiece");
  tokens.offsets = {0, 100, kRows};
  tokens.prompts = {Json::object(), Json::object()};
  for (const std::string storage : {"float32", "float16"}) {
    std::vector<std::pair<HookPoint, Shape>> points = {{{Point::embed}, {64}}, {{Point::pattern, 0}, {1}}};
    for (int layer = 0; layer < 6; ++layer) points.push_back({{Point::q, layer}, {4, 16}});
    DumpOptions options{.storage = storage};
    const int64_t estimate = dump_bytes(tokens, points, options);
    {
      DumpWriter writer(out.path(), make_info(), tokens, options);
      for (const auto& [point, shape] : points) {
        writer.declare(point, shape);
        const bool square = point.point == Point::pattern;
        const auto values = std::vector<float>(square ? 2900 * 2900 : kRows * 64, 1.0f);
        if (square) {
          writer.write(point, 0, values.data(), 1, 100 * 100, 100 * 100);
          writer.write(point, 1, values.data(), 1, 2900 * 2900, 2900 * 2900);
        } else {
          writer.write(point, 0, values.data(), kRows, 64, 64);
        }
      }
      writer.finish("");
    }
    int64_t size = 0;
    for (const auto& entry : fs::recursive_directory_iterator(out / "dump"))
      size += entry.is_regular_file() ? static_cast<int64_t>(entry.file_size()) : 0;
    EXPECT_GE(estimate, size) << storage;
    EXPECT_LE(estimate, size * 1.01) << storage;
  }
}

TEST(DumpWriter, EstimateDoesNotOverflow) {
  const auto tokens = make_tokens();
  EXPECT_EQ(dump_bytes(tokens, {{{Point::logits}, {INT64_MAX / 2}}}, {}), INT64_MAX);
  EXPECT_EQ(dump_bytes(tokens, {{{Point::logits}, {INT64_MAX / 2, 4}}}, {}), INT64_MAX);
}

}  // namespace
}  // namespace spikescope
