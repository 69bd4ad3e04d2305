#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "capture/dump.h"
#include "capture/dump_fixture.h"
#include "io/hdf5.h"
#include "io/output_file.h"
#include "tests/fixtures.h"

namespace spikescope {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A Python with h5py, or "".
std::string python() {
  for (const std::string program : {"python3", "/usr/bin/python3"}) {
    if (std::system((program + " -c 'import h5py' 2>/dev/null").c_str()) == 0) return program;
  }
  return "";
}

class DumpStorage : public ::testing::TestWithParam<DumpOptions> {};

TEST_P(DumpStorage, RoundTrip) {
  const TemporaryFolder out;
  write_dump(out.path(), GetParam());
  EXPECT_EQ(names_in(out.path()), kWholeDump);
  const DumpReader dump(out.path());
  EXPECT_EQ(dump.out(), out.path());
  EXPECT_EQ(dump.n_layers(), kLayers);
  EXPECT_EQ(dump.d_model(), kD);
  const DumpInfo expected = make_info();
  EXPECT_EQ(dump.info().model, expected.model);
  EXPECT_EQ(dump.info().model_name, expected.model_name);
  EXPECT_EQ(dump.info().model_sha256, "abc123");
  EXPECT_EQ(dump.info().family, expected.family);
  EXPECT_EQ(dump.info().config, expected.config);
  EXPECT_EQ(dump.info().command, expected.command);
  EXPECT_EQ(dump.info().version, expected.version);
  EXPECT_EQ(dump.info().dtype, "float32");
  EXPECT_EQ(dump.info().storage, GetParam().storage);
  EXPECT_EQ(dump.info().bos, "none");
  EXPECT_EQ(dump.tokens().ids, make_tokens().ids);
  EXPECT_EQ(dump.tokens().offsets, make_tokens().offsets);
  EXPECT_THAT(dump.tokens().strings, ElementsAre("Ġthe", "▁a", "\n", "bad\uFFFD", "n\uFFFDl"));
  EXPECT_EQ(dump.tokens().prompts, make_tokens().prompts);

  EXPECT_TRUE(dump.has({Point::resid_post, 1}));
  EXPECT_FALSE(dump.has({Point::resid_post, 2}));
  EXPECT_FALSE(dump.has({Point::resid_pre, 1}));
  EXPECT_TRUE(dump.has({Point::pattern, 0}));
  EXPECT_TRUE(dump.has({Point::embed}));
  EXPECT_TRUE(dump.has_sinks());
  EXPECT_TRUE(dump.has_writers());
  EXPECT_EQ(dump.row_shape({Point::q, 1}), (Shape{kHeads, kHeadDim}));
  EXPECT_EQ(dump.row_shape({Point::pattern, 1}), Shape{kHeads});
  EXPECT_EQ(dump.read({Point::resid_post, 1}, 0, kN), ramp(100, kN * kD));
  EXPECT_EQ(dump.read({Point::q, 1}, 1, 2), ramp(107 + kHeads * kHeadDim, 2 * kHeads * kHeadDim));
  EXPECT_EQ(dump.read({Point::pattern, 1}, 1, 1), ramp(1, kHeads * 4));
  EXPECT_EQ(dump.read({Point::logits}, 4, 1), ramp(13 + 24, 6));
  EXPECT_EQ(dump.residual(0, 1), ramp(50 + 3 * kD, 2 * kD));
  EXPECT_EQ(dump.residual(1, 0), ramp(0, 3 * kD));
  EXPECT_EQ(dump.residual(2, 1), ramp(100 + 3 * kD, 2 * kD));

  for (int64_t block = 0; block < kLayers; ++block) {
    const SinkStatistics sinks = dump.sinks(block), written = make_sinks(block == 1);
    EXPECT_EQ(sinks.heads, kHeads);
    EXPECT_EQ(sinks.kv_heads, kKvHeads);
    EXPECT_EQ(sinks.head_dim, kHeadDim);
    EXPECT_EQ(sinks.column_sums, written.column_sums);
    EXPECT_EQ(sinks.late_column_sums, written.late_column_sums);
    EXPECT_EQ(sinks.entropy, written.entropy);
    EXPECT_EQ(sinks.tokens, written.tokens);
    EXPECT_EQ(sinks.columns, written.columns);
    EXPECT_EQ(sinks.values, written.values);
    const WriterRows rows = dump.writers(block), written_rows = make_writers(block == 1);
    EXPECT_EQ(rows.tokens, written_rows.tokens);
    EXPECT_EQ(rows.d_model, kD);
    EXPECT_EQ(rows.width, written_rows.width);
    EXPECT_EQ(rows.attention, written_rows.attention);
    EXPECT_EQ(rows.mlp, written_rows.mlp);
    EXPECT_EQ(rows.mlp_post, written_rows.mlp_post);
  }
  const auto losses = dump.losses();
  ASSERT_EQ(losses.size(), 5u);
  EXPECT_EQ(losses[3], 4.0f);
  EXPECT_TRUE(std::isnan(losses[4]));
}

TEST_P(DumpStorage, PlainH5pyReadsIt) {
  const std::string program = python();
  if (program.empty()) GTEST_SKIP() << "no python3 with h5py (Debian: apt install python3-h5py)";
  const TemporaryFolder folder;
  write_dump(folder / "here", GetParam());
  fs::rename(folder / "here", folder / "moved");  // the links are relative
  const std::string command = "cd / && " + program + " " SPIKESCOPE_SOURCE_DIR "/tests/capture/read_dump.py " +
                              (folder / "moved").string() + " " + GetParam().storage;
  EXPECT_EQ(std::system(command.c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(All, DumpStorage,
                         ::testing::Values(DumpOptions{}, DumpOptions{.storage = "float16"}, DumpOptions{.gzip = 3}),
                         [](const auto& info) {
                           return info.param.storage + "_gzip" + std::to_string(info.param.gzip);
                         });

TEST(DumpReader, WithoutSinksWritersAndLosses) {
  const TemporaryFolder out;
  DumpWriter writer(out.path(), make_info(), make_tokens(), {});
  writer.finish("");
  const DumpReader dump(out.path());
  EXPECT_FALSE(dump.has_sinks());
  EXPECT_FALSE(dump.has_writers());
  EXPECT_THAT(dump.losses(), IsEmpty());
  EXPECT_THAT(error_of([&] { dump.sinks(0); }), AllOf(HasSubstr("/sinks/0"), HasSubstr("--sinks")));
  EXPECT_THAT(error_of([&] { dump.writers(0); }), HasSubstr("--writers"));
  EXPECT_THAT(error_of([&] { dump.residual(1, 0); }), HasSubstr("blocks.0.resid_post was not captured"));
  EXPECT_THAT(error_of([&] {
                dump.read({Point::pattern, 0}, 0, 1);
              }),
              HasSubstr("blocks.0.attn.pattern was not captured"));
}

TEST(DumpReader, MissingAndDamagedLayerFilesAreNamed) {
  const TemporaryFolder out;
  write_dump(out.path());
  fs::remove(out / "dump/layers/001.h5");
  write_file(out / "dump/layers/outside.h5", "not HDF5");
  const DumpReader dump(out.path());
  EXPECT_EQ(dump.residual(1, 0), ramp(0, 3 * kD));
  for (const auto& message : {error_of([&] { dump.residual(2, 0); }), error_of([&] {
                                dump.has({Point::resid_post, 1});
                              }),
                              error_of([&] { dump.sinks(1); }), error_of([&] { dump.writers(1); })}) {
    EXPECT_THAT(message, AllOf(HasSubstr("layers/001.h5"), HasSubstr("missing")));
  }
  EXPECT_THAT(error_of([&] { dump.read({Point::embed}, 0, 1); }),
              AllOf(HasSubstr("outside.h5"), HasSubstr("cannot read")));
}

TEST(DumpReader, ReadingBeyondTheEnd) {
  const TemporaryFolder out;
  write_dump(out.path());
  const DumpReader dump(out.path());
  EXPECT_THAT(error_of([&] { dump.read({Point::embed}, 4, 2); }), HasSubstr("5 rows"));
  EXPECT_THAT(error_of([&] { dump.read({Point::embed}, -1, 2); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { dump.read({Point::pattern, 0}, 2, 1); }), HasSubstr("prompts 0 to 1, not 2"));
  EXPECT_THAT(error_of([&] { dump.read({Point::pattern, 0}, 0, 2); }), HasSubstr("one prompt at a time"));
  EXPECT_THAT(error_of([&] { dump.residual(3, 0); }), HasSubstr("residual states 0 to 2, not 3"));
  EXPECT_THAT(error_of([&] { dump.residual(-1, 0); }), HasSubstr("-1"));
  EXPECT_THAT(error_of([&] { dump.residual(0, 2); }), HasSubstr("not 2"));
}

// A whole file of its own, by hand, for what a DumpWriter would not write.
struct Forged {
  std::function<void(H5File&)> change_index;  // before /tokens and the links are written
  std::vector<int64_t> ids = {1, 2, 3}, offsets = {0, 2, 3};
  std::vector<std::string> strings = {"a", "b", "c"}, prompts = {"{}", "{}"};
  std::string format = "spikescope-dump", storage = "float32", config = R"({"n_layers": 1, "d_model": 4})";
  int64_t version = 1;
  std::function<void(H5File&)> change_layer;

  void write(const fs::path& out) const {
    fs::create_directories(out / "dump/layers");
    H5File index = H5File::create(out / "dump/index.h5");
    index.set_attribute("/", "format", format);
    index.set_attribute("/", "version", version);
    for (const auto* name :
         {"model", "model_name", "model_sha256", "family", "command", "program_version", "dtype", "bos"}) {
      index.set_attribute("/", name, "x");
    }
    index.set_attribute("/", "storage", storage);
    index.set_attribute("/", "config", config);
    if (change_index) change_index(index);
    if (!index.has("/tokens/ids")) index.write("/tokens/ids", ids);
    index.write("/tokens/offsets", offsets);
    index.write("/tokens/strings", strings);
    index.write("/prompts", prompts);
    H5File layer = H5File::create(out / "dump/layers/000.h5");
    if (change_layer) change_layer(layer);
    for (const auto* group : {"/blocks/0", "/sinks/0", "/writers/0"})
      index.link_external(group, "layers/000.h5", group);
  }
};

std::string forged_error(const std::function<void(Forged&)>& change,
                         const std::function<void(const DumpReader&)>& use = {}) {
  const TemporaryFolder out;
  Forged forged;
  change(forged);
  forged.write(out.path());
  return error_of([&] {
    const DumpReader dump(out.path());
    if (use) use(dump);
  });
}

TEST(DumpReader, ForgedIndex) {
  EXPECT_EQ(forged_error([](Forged&) {}), "");
  EXPECT_THAT(forged_error([](Forged& f) { f.format = "something"; }),
              AllOf(HasSubstr("index.h5"), HasSubstr("no dump")));
  EXPECT_THAT(forged_error([](Forged& f) { f.version = 2; }), HasSubstr("version 2"));
  EXPECT_THAT(forged_error([](Forged& f) { f.storage = "int4"; }), HasSubstr("int4"));
  EXPECT_THAT(forged_error([](Forged& f) { f.config = "{"; }), HasSubstr("config"));
  EXPECT_THAT(forged_error([](Forged& f) { f.config = R"({"n_layers": 1})"; }), HasSubstr("d_model"));
  EXPECT_THAT(forged_error([](Forged& f) { f.config = R"({"n_layers": 1000000000000, "d_model": 4})"; }),
              HasSubstr("no model"));
  EXPECT_THAT(forged_error([](Forged& f) { f.config = R"({"n_layers": 1, "d_model": -4})"; }), HasSubstr("no model"));
  EXPECT_THAT(forged_error([](Forged& f) { f.offsets = {0, 2, 4}; }), HasSubstr("/tokens/offsets"));
  EXPECT_THAT(forged_error([](Forged& f) { f.offsets = {0, 4, 3}; }), HasSubstr("/tokens/offsets"));
  EXPECT_THAT(forged_error([](Forged& f) { f.offsets = {-1, 3}; }), HasSubstr("/tokens/offsets"));
  EXPECT_THAT(forged_error([](Forged& f) { f.offsets = {}; }), HasSubstr("/tokens/offsets"));
  EXPECT_THAT(forged_error([](Forged& f) { f.strings = {"a"}; }),
              AllOf(HasSubstr("/tokens/strings"), HasSubstr("[1], expected [3]")));
  EXPECT_THAT(forged_error([](Forged& f) { f.prompts = {"{}"}; }), HasSubstr("/prompts"));
  EXPECT_THAT(forged_error([](Forged& f) { f.prompts[1] = "{]"; }), HasSubstr("/prompts, string 1"));
  EXPECT_THAT(forged_error([](Forged& f) {
                f.change_index = [](H5File& index) {
                  index.write<int64_t>("/tokens/ids", Shape{3, 1}, Shape{1, 2, 3});
                };
              }),
              AllOf(HasSubstr("/tokens/ids"), HasSubstr("2 dimensions")));
  EXPECT_THAT(forged_error([](Forged& f) {
                f.change_index = [](H5File& index) { index.declare("/tokens/ids", Shape{int64_t{1} << 50}); };
              }),
              HasSubstr("/tokens/ids"));
  EXPECT_THAT(forged_error(
                  [](Forged& f) {
                    f.change_index = [](H5File& index) { index.declare("/losses/nll", Shape{int64_t{1} << 50}); };
                  },
                  [](const DumpReader& dump) { dump.losses(); }),
              HasSubstr("/losses/nll has the shape"));
}

TEST(DumpReader, ForgedLayers) {
  const auto layer_error = [](const std::string& dataset, const Shape& shape,
                              const std::function<void(const DumpReader&)>& use) {
    return forged_error([&](Forged& f) { f.change_layer = [&](H5File& layer) { layer.declare(dataset, shape); }; },
                        use);
  };
  const auto residual = [](const DumpReader& dump) { dump.residual(1, 0); };
  const auto read_q = [](const DumpReader& dump) { dump.read({Point::q, 0}, 0, 1); };
  const auto pattern = [](const DumpReader& dump) { dump.read({Point::pattern, 0}, 0, 1); };
  EXPECT_THAT(layer_error("/blocks/0/resid_post", {3, 5}, residual),
              AllOf(HasSubstr("/blocks/0/resid_post"), HasSubstr("[3, 5], expected [3, 4]")));
  EXPECT_THAT(layer_error("/blocks/0/resid_post", {4, 4}, residual), HasSubstr("[4, 4]"));
  EXPECT_THAT(layer_error("/blocks/0/resid_post", {3}, residual), HasSubstr("[3], expected"));
  EXPECT_THAT(layer_error("/blocks/0/resid_post", {3, 4}, residual), HasSubstr("the file has 0 of them"));
  EXPECT_THAT(layer_error("/blocks/0/attn/q", {3, int64_t{1} << 50}, read_q), HasSubstr("the file has 0 of them"));
  EXPECT_THAT(layer_error("/blocks/0/attn/pattern/0", {1 << 20, 3, 3}, pattern), HasSubstr("expected [1, 2, 2]"));
  EXPECT_THAT(layer_error("/blocks/0/attn/pattern/0", {1 << 30, 2, 2}, pattern), HasSubstr("the file has 0 of them"));
  EXPECT_THAT(layer_error("/blocks/0/attn/pattern", {3, 4}, pattern), HasSubstr("pattern/0"));
}

struct ForgedSinks {
  Shape tokens = {0, 0, 1, 0}, tokens_shape = {2, 2}, offsets = {0, 2, 3};
  Shape sums = {2, 3}, late = {2, 3}, entropy = {2, 2}, values = {2, 1, 3}, columns = {3, 2};

  void write(H5File& file) const {
    const auto floats = [&](const std::string& name, const Shape& shape) {
      const int64_t size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
      file.write<float>("/sinks/0/" + name, shape, ramp(0, size));
    };
    file.write<int64_t>("/sinks/0/tokens", tokens_shape, tokens);
    file.write("/sinks/0/column_offsets", offsets);
    floats("column_sums", sums);
    floats("late_column_sums", late);
    floats("entropy", entropy);
    floats("values", values);
    floats("columns", columns);
  }
};

TEST(DumpReader, ForgedSinkStatistics) {
  const auto sinks_error = [](const std::function<void(ForgedSinks&)>& change) {
    ForgedSinks sinks;
    change(sinks);
    return forged_error([&](Forged& f) { f.change_layer = [&](H5File& layer) { sinks.write(layer); }; },
                        [](const DumpReader& dump) { dump.sinks(0); });
  };
  EXPECT_EQ(sinks_error([](ForgedSinks&) {}), "");
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.tokens[0] = 2; }),
              AllOf(HasSubstr("/sinks/0/tokens"), HasSubstr("prompt 2")));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.tokens[3] = 1; }), HasSubstr("token 1 of prompt 1"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.tokens[1] = -1; }), HasSubstr("token -1"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.tokens_shape = {4}; }), HasSubstr("[4], expected [kept tokens, 2]"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.offsets = {0, 1, 3}; }), HasSubstr("column_offsets"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.sums = {2, 4}; }), HasSubstr("/sinks/0/column_sums"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.sums = {6}; }), HasSubstr("/sinks/0/column_sums"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.late = {3, 3}; }), HasSubstr("late_column_sums"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.entropy = {2, 3}; }), HasSubstr("entropy"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.values = {3, 1, 3}; }), HasSubstr("values"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.values = {2, 0, 3}; }), HasSubstr("values"));
  EXPECT_THAT(sinks_error([](ForgedSinks& s) { s.columns = {2, 2}; }), HasSubstr("columns"));
}

TEST(DumpReader, ForgedWriterRows) {
  const auto writers_error = [](const Shape& tokens, const Shape& attention, const Shape& post) {
    return forged_error(
        [&](Forged& f) {
          f.change_layer = [&](H5File& layer) {
            layer.write<int64_t>("/writers/0/tokens", Shape{1, 2}, tokens);
            layer.write<float>("/writers/0/attention", attention, ramp(0, attention[0] * attention[1]));
            layer.write<float>("/writers/0/mlp", Shape{1, 4}, ramp(0, 4));
            layer.write<float>("/writers/0/mlp_post", post, ramp(0, post[0] * post[1]));
          };
        },
        [](const DumpReader& dump) { dump.writers(0); });
  };
  EXPECT_EQ(writers_error({0, 1}, {1, 4}, {1, 9}), "");
  EXPECT_THAT(writers_error({0, 2}, {1, 4}, {1, 9}), HasSubstr("token 2 of prompt 0"));
  EXPECT_THAT(writers_error({0, 1}, {1, 5}, {1, 9}), HasSubstr("/writers/0/attention"));
  EXPECT_THAT(writers_error({0, 1}, {1, 4}, {2, 9}), HasSubstr("/writers/0/mlp_post"));
}

}  // namespace
}  // namespace spikescope
