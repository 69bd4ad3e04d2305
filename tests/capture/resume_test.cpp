// Captures that are stopped or killed between layers and taken up again.
#include <gmock/gmock.h>

#include <fstream>

#include "../error_of.h"
#include "../golden.h"
#include "../tiny_model.h"
#include "capture/capture.h"
#include "capture/dump_state.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    checkpoint_ = Checkpoint::open(folder_ / "tiny");
    for (int64_t i = 0; i < 40; ++i) tokens_.ids.push_back((7 * i) % 64);
    tokens_.offsets = {0, 31, 40};
    tokens_.strings.resize(40);
    tokens_.prompts = {Json::object(), Json::object()};
    info_.model = "tiny";
  }
  CaptureRequest request(bool resume = false) const {
    CaptureRequest all{.points = {"*"}, .sinks = true, .writers = true, .losses = true, .storage = {}};
    all.storage.storage = storage_;
    all.storage.gzip = gzip_;
    all.storage.resume = resume;
    all.state_seconds = 0.0;
    return all;
  }
  CaptureSummary run(const CaptureRequest& request, const fs::path& out) {
    return capture(*checkpoint_, tokens_, info_, request, out, {});
  }
  /// A run that is told to stop after `layers` layers.
  CaptureSummary run_and_stop(int layers, const fs::path& out, bool resume = false) {
    CaptureRequest stopping = request(resume);
    stopping.stop = [asked = 0, layers]() mutable { return ++asked >= layers; };
    return run(stopping, out);
  }
  /// Every dataset and attribute of a dump's files, but those that name the moment.
  std::string content(const fs::path& out) const {
    const DumpReader dump(out);
    std::stringstream all;
    for (const HookPoint& point : hook_points(checkpoint_->architecture())) {
      const bool square = point.kind().shape == PointShape::square;
      for (int64_t p = 0; p < (square ? 2 : 1); ++p)
        for (const float value : dump.read(point, p, square ? 1 : 40)) all << std::hexfloat << value << ' ';
    }
    for (int layer = 0; layer < 3; ++layer) {
      const SinkStatistics sinks = dump.sinks(layer);
      for (const auto* values : {&sinks.column_sums, &sinks.late_column_sums, &sinks.entropy, &sinks.values})
        for (const float value : *values) all << value << ' ';
      const WriterRows writers = dump.writers(layer);
      for (const auto* values : {&writers.attention, &writers.mlp, &writers.mlp_post})
        for (const float value : *values) all << value << ' ';
    }
    for (const float value : dump.losses()) all << value << ' ';
    return all.str();
  }

  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  DumpTokens tokens_;
  DumpInfo info_;
  std::string storage_ = "float32";
  int gzip_ = 0;
};

TEST_F(Resume, StoppedAfterAnyLayerItEndsAsIfUndisturbed) {
  run(request(), folder_ / "whole");
  const std::string expected = content(folder_ / "whole");
  for (const int layers : {1, 2}) {
    const fs::path out = folder_ / ("stopped-" + std::to_string(layers));
    EXPECT_EQ(run_and_stop(layers, out).stopped_layer, layers);
    EXPECT_FALSE(fs::exists(out / "dump"));
    const CaptureSummary summary = run(request(true), out);
    EXPECT_EQ(summary.resumed_layer, layers);
    EXPECT_EQ(summary.stopped_layer, 0);
    EXPECT_EQ(content(out), expected);
    EXPECT_FALSE(fs::exists(out / "dump.partial"));
    EXPECT_FALSE(fs::exists(out / "dump/state"));
  }
}

TEST_F(Resume, TwiceStopped) {
  run(request(), folder_ / "whole");
  EXPECT_EQ(run_and_stop(1, folder_ / "out").stopped_layer, 1);
  EXPECT_EQ(run_and_stop(1, folder_ / "out", true).stopped_layer, 2);
  EXPECT_EQ(run(request(true), folder_ / "out").resumed_layer, 2);
  EXPECT_EQ(content(folder_ / "out"), content(folder_ / "whole"));
}

TEST_F(Resume, HalfAndCompressedStatesToo) {
  storage_ = "float16";
  gzip_ = 4;
  run(request(), folder_ / "whole");
  EXPECT_EQ(run_and_stop(1, folder_ / "out").stopped_layer, 1);
  EXPECT_EQ(run(request(true), folder_ / "out").resumed_layer, 1);
  EXPECT_EQ(content(folder_ / "out"), content(folder_ / "whole"))
      << "the pass goes on from float32, whatever is stored";
}

TEST_F(Resume, WhatAKilledRunHadBegunIsMadeAnew) {
  run(request(), folder_ / "whole");
  run_and_stop(1, folder_ / "out");
  // As if it had been killed in the middle of the next layer: half a file, and one that was complete after the state.
  const fs::path layers = folder_ / "out/dump.partial/layers";
  write_file(layers / "001.h5.part", "half");
  write_file(layers / "001.h5", "whole, but after the state");
  run(request(true), folder_ / "out");
  EXPECT_EQ(content(folder_ / "out"), content(folder_ / "whole"));
}

TEST_F(Resume, WithNothingToGoOnFromItBegins) {
  EXPECT_EQ(run(request(true), folder_ / "out").resumed_layer, 0);
  EXPECT_NO_THROW(content(folder_ / "out"));
}

TEST_F(Resume, AnOldDumpStaysUntilTheNewOneIsWhole) {
  run(request(), folder_ / "out");
  const std::string before = content(folder_ / "out");
  run_and_stop(1, folder_ / "out");
  EXPECT_EQ(content(folder_ / "out"), before);
}

TEST_F(Resume, OtherSettingsAreRefusedByName) {
  run_and_stop(1, folder_ / "out");
  CaptureRequest other = request(true);
  other.points = {"blocks.*.resid_post"};
  EXPECT_THAT(error_of([&] { run(other, folder_ / "out"); }),
              AllOf(HasSubstr("cannot be resumed"), HasSubstr("points")));
  other = request(true);
  other.storage.storage = "float16";
  EXPECT_THAT(error_of([&] { run(other, folder_ / "out"); }),
              AllOf(HasSubstr("storage"), HasSubstr("float32"), HasSubstr("float16")));
  tokens_.ids[3] = 9;
  EXPECT_THAT(error_of([&] { run(request(true), folder_ / "out"); }), HasSubstr("tokens_fnv1a"));
  tokens_.ids[3] = 21;
  testing::write_tiny_model(folder_ / "tiny");  // the same values, but who knows
  EXPECT_THAT(error_of([&] { run(request(true), folder_ / "out"); }), HasSubstr("files"));
  EXPECT_TRUE(fs::exists(folder_ / "out/dump.partial/state")) << "a refused run loses nothing";
}

TEST_F(Resume, DamagedStatesAreRefused) {
  run_and_stop(1, folder_ / "out");
  const fs::path state = folder_ / "out/dump.partial/state";
  const std::string whole = read_file(state);
  const auto message = [&](const std::string& bytes) {
    write_file(state, bytes);
    return error_of([&] { run(request(true), folder_ / "out"); });
  };
  EXPECT_THAT(message(whole.substr(0, whole.size() - 1)), HasSubstr("bytes of states"));
  EXPECT_THAT(message("no header"), HasSubstr("is not the state"));
  EXPECT_THAT(message("{\"format\":\"spikescope-state\",\"next_layer\":99,\"tracked\":[]}\n"), HasSubstr("layer 99"));
  EXPECT_THAT(message("{\"format\":\"other\"}\n"), HasSubstr("is not the state"));
  EXPECT_THAT(message("{]\n"), HasSubstr("state"));
  const std::string values = whole.substr(whole.find('\n'));
  const std::string header = "{\"format\":\"spikescope-state\",\"next_layer\":1,\"tracked\":";
  EXPECT_THAT(message(header + "[[0,31]]}" + values), HasSubstr("token 31"));
  EXPECT_THAT(message(header + "[[0]]}" + values), HasSubstr("tokens tracked"));
  EXPECT_THAT(message(header + "7}" + values), HasSubstr("tokens tracked"));
  fs::remove(folder_ / "out/dump.partial/layers/000.h5");
  EXPECT_THAT(message(whole), HasSubstr("000.h5: is missing"));
}

}  // namespace
}  // namespace spikescope
