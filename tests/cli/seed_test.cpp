// What `--seed` promises, through the real program: the same seed the same results to the byte, another one other
// samples.
#include <gmock/gmock.h>

#include <random>

#include "io/json.h"
#include "program.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::run_program;

/// The tiny model, in which the tokens 33 and 34 are spikes, and six windows of 100 tokens that one of them begins.
class Seed : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "model");
    auto tensors = testing::tiny_tensors();
    tensors[0].values[33 * 16 + 5] = 400.0f;
    tensors[0].values[34 * 16 + 5] = 300.0f;
    testing::write_tensors(folder_ / "model/model.safetensors", tensors);
    std::mt19937 random(3);
    Json windows = Json::array();
    for (int64_t window = 0; window < 6; ++window) {
      windows.push_back({33 + window % 2});
      for (int64_t t = 1; t < 100; ++t) windows.back().push_back(static_cast<int64_t>(random() % 31));
    }
    testing::write_text(folder_ / "ids.json", windows.dump());
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void run(std::vector<std::string> arguments) const {
    const auto result = run_program(arguments);
    ASSERT_EQ(result.exit_code, 0) << arguments[0] << "\n" << result.err;
  }
  /// Capture, all analyses and `intervene` into a folder, with random first tokens.
  void everything(const std::string& out, const std::string& seed) const {
    // What `run` does, without its report.
    run({"capture", "--model", path("model"), "--out", path(out), "--ids", path("ids.json"), "--random-first", "8",
         "--seed", seed, "--points", "blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out", "--sinks",
         "--writers"});
    run({"analyze", path(out), "--seed", seed});
    run({"intervene", "--model", path("model"), "--out", path(out), "--seed", seed});
  }
  /// Results as text, without what a clock says.
  std::string results(const std::string& out, const std::string& name) const {
    Json json = read_json_file(folder_ / out / "results" / (name + ".json"));
    for (const char* key : {"seconds", "predicted_seconds", "predicted_seconds_all_layers", "decomposition_seconds"})
      json.erase(key);
    return json.dump();
  }
  Json json(const std::string& out, const std::string& name) const {
    return read_json_file(folder_ / out / "results" / (name + ".json"));
  }

  testing::TemporaryFolder folder_;
};

const char* const kResults[] = {"spikes", "sinks", "convergence", "alignment", "null_space", "rope_bands", "interventions"};

TEST_F(Seed, TheSameSeedGivesTheSameBytes) {
  everything("a", "7");
  everything("b", "7");
  for (const char* name : kResults) EXPECT_EQ(results("a", name), results("b", name)) << name;
  // Another one draws other samples: random first tokens, ordinary tokens, controls.
  everything("c", "8");
  EXPECT_NE(json("a", "convergence")["layers"][1]["random_first"], json("c", "convergence")["layers"][1]["random_first"]);
  for (const char* name : {"convergence", "alignment", "null_space", "rope_bands"}) {
    EXPECT_EQ(json("a", name)["seed"], 7);
    EXPECT_NE(json("a", name)["layers"], json("c", name)["layers"]) << name;
  }
  EXPECT_EQ(json("a", "spikes")["plateaus"], json("c", "spikes")["plateaus"]) << "what is not drawn stays";
  const auto specs = [&](const std::string& out, const char* what) {
    Json found = Json::array();
    const Json interventions = json(out, "interventions");
    for (const Json& one : interventions.at("runs"))
      if (one.at("what") == what) found.push_back(one.at(std::string(what) == "ordinary tokens" ? "loss" : "spec"));
    EXPECT_FALSE(found.empty()) << what;
    return found;
  };
  for (const char* what : {"random dimensions", "ordinary tokens"}) EXPECT_NE(specs("a", what), specs("c", what)) << what;
}

TEST_F(Seed, AnalyzeDrawsAnewFromTheDump) {
  everything("a", "7");
  const std::string before = results("a", "alignment"), spikes = results("a", "spikes");
  run({"analyze", path("a"), "--seed", "8"});
  EXPECT_NE(results("a", "alignment"), before);
  EXPECT_EQ(results("a", "spikes"), spikes);
  run({"analyze", path("a"), "--seed", "7", "--only", "alignment"});
  EXPECT_EQ(results("a", "alignment"), before);
}

TEST_F(Seed, SurveyAndScanRepeat) {
  for (const char* out : {"first", "second"})
    run({"survey", path("model"), "--out", path(out), "--prompt", "abcdefghijklmnopqrstuvwxyz", "--random-first", "8",
         "--seed", "5"});
  for (const char* name : {"spikes", "sinks", "convergence", "alignment", "null_space", "rope_bands"})
    EXPECT_EQ(results("first/model", name), results("second/model", name)) << name;
  // A scan draws nothing: it has no seed to give.
  for (const char* out : {"one", "two"}) run({"scan", "--model", path("model"), "--out", path(out)});
  EXPECT_EQ(results("one", "scan"), results("two", "scan"));
}

TEST(SeedHelp, SaysWhatItDoes) {
  for (const char* command : {"run", "analyze", "intervene", "survey", "reproduce"}) {
    const std::string help = run_program({command, "--help"}).out;
    EXPECT_THAT(help, HasSubstr("--seed")) << command;
    EXPECT_THAT(help, HasSubstr("the same seed draws the same")) << command;
  }
}

}  // namespace
}  // namespace spikescope
