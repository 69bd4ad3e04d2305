// `compare` and `survey` through the real program.

#include "capture/dump.h"
#include "io/json.h"
#include "program.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_program;
using testing::TemporaryFolder;

class SurveyProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "one");
    testing::write_tiny_model(folder_ / "two", 12);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  testing::ProgramResult survey(std::vector<std::string> models, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"survey", "--out", path("out"), "--prompt", "abcdefghijklmnop"};
    for (const std::string& model : models) arguments.push_back(path(model));
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  /// Status by name, as survey.json has it.
  std::string status(const std::string& name) const {
    const Json record = read_json_file(folder_ / "out/survey.json");
    for (const Json& model : record.at("models"))
      if (model.at("name") == name) return model.at("status");
    return "absent";
  }
  fs::file_time_type dump_time(const std::string& name) const {
    return fs::last_write_time(folder_ / "out" / name / "dump/index.h5");
  }
  TemporaryFolder folder_;
};

TEST_F(SurveyProgram, CompareWritesAPageOfSeveralRuns) {
  for (const char* model : {"one", "two"})
    ASSERT_EQ(run_program({"run", "--model", path(model), "--out", path(std::string("runs/") + model), "--prompt",
                           "abcdefghijklmnop"})
                  .exit_code,
              0);
  const auto result = run_program({"compare", path("runs/one"), path("runs/two/report/index.html"),
                                   path("runs/one/results"), "--out", path("both")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "page: " + path("both/index.html") + "\n");
  for (const char* file : {"index.html", "survey.csv", "figures/compare-spikes.svg", "figures/compare-spikes.pdf",
                           "figures/compare-sinks.png", "figures/compare-sink-rate.csv"})
    EXPECT_TRUE(fs::exists(folder_ / "both" / file)) << file;
  const Json json = read_json_file(folder_ / "both/comparison.json");
  EXPECT_EQ(json.at("format"), "spikescope-comparison");
  ASSERT_EQ(json.at("models").size(), 2u) << "a run named twice is there once";
  const Json spikes = read_json_file(folder_ / "runs/two/results/spikes.json");
  double largest = 0.0;
  for (const Json& layer : spikes.at("layers")) largest = std::max(largest, layer.at("max").get<double>());
  EXPECT_NEAR(std::abs(json["models"][1]["top"][0]["value"].get<double>()), largest, 1e-6);
  EXPECT_EQ(json["models"][1]["name"], "two");

  EXPECT_EQ(run_program({"compare", path("runs"), "--out", path("all")}).exit_code, 0);
  EXPECT_EQ(read_json_file(folder_ / "all/comparison.json").at("models"), json.at("models")) << "a folder of runs";

  const auto printed = run_program({"compare", path("runs/two"), "--json", "--out", path("alone")});
  EXPECT_EQ(printed.exit_code, 0) << printed.err;
  const Json document = parse_json(printed.out, "standard output");
  EXPECT_EQ(document["models"][0], json["models"][1]);
  EXPECT_EQ(document["page"], path("alone/index.html"));
}

TEST_F(SurveyProgram, CompareNamesWhatIsWrongAndKeepsTheOldPage) {
  ASSERT_EQ(
      run_program({"run", "--model", path("one"), "--out", path("run"), "--prompt", "abcdefghijklmnop"}).exit_code, 0);
  ASSERT_EQ(run_program({"compare", path("run"), "--out", path("page")}).exit_code, 0);
  const std::string before = read_file(folder_ / "page/index.html");
  const auto compare = [&](const std::string& run) {
    return run_program({"compare", path(run), "--out", path("page")});
  };
  expect_failure(run_program({"compare"}), 2, "reports");
  expect_failure(compare("nowhere"), 1, "nowhere: no such file or folder");
  expect_failure(compare("one"), 1, "spikescope analyze");
  Json json = read_json_file(folder_ / "run/results/spikes.json");
  json["layers"][1].erase("median");
  write_file(folder_ / "run/results/spikes.json", json.dump());
  expect_failure(compare("run"), 1, "results/spikes.json: layers[1]: the key \"median\"");
  write_file(folder_ / "run/results/spikes.json", "{\"applicable\": ");
  expect_failure(compare("run"), 1, "results/spikes.json: line 1");
  EXPECT_EQ(read_file(folder_ / "page/index.html"), before);
}

TEST_F(SurveyProgram, AFailingModelDoesNotEndTheSurvey) {
  fs::create_directory(folder_ / "broken");
  testing::write_text(folder_ / "broken/config.json", "{\"model_type\": ");
  const auto result = survey({"one", "broken", "two"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "page: " + path("out/index.html") + "\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("1 of 3: one"), HasSubstr("2 of 3: broken failed"), HasSubstr("3 of 3: two"),
                                HasSubstr("\nspikescope: broken: ")));
  for (const char* file : {"index.html", "survey.csv", "comparison.json", "figures/compare-spikes.svg",
                           "one/report/index.html", "two/results/spikes.json", "two/dump/index.h5"})
    EXPECT_TRUE(fs::exists(folder_ / "out" / file)) << file;
  EXPECT_EQ(status("one"), "done");
  EXPECT_EQ(status("broken"), "failed");
  EXPECT_EQ(status("two"), "done");
  const Json record = read_json_file(folder_ / "out/survey.json");
  EXPECT_THAT(record["models"][1]["error"].get<std::string>(), HasSubstr("config.json"));
  EXPECT_THAT(read_file(folder_ / "out/index.html"), HasSubstr("failed: "));
  EXPECT_THAT(read_file(folder_ / "out/survey.csv"), HasSubstr("config.json"));

  // Put right, it is the only one that runs.
  const auto one = dump_time("one");
  fs::remove_all(folder_ / "broken");
  testing::write_tiny_model(folder_ / "broken", 13);
  const auto again = survey({"one", "broken", "two"}, {"--json"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, AllOf(HasSubstr("1 of 3: one (done before)"), HasSubstr("3 of 3: two (done before)")));
  EXPECT_EQ(dump_time("one"), one);
  const Json json = parse_json(again.out, "standard output");
  EXPECT_EQ(json["page"], path("out/index.html"));
  ASSERT_EQ(json["models"].size(), 3u);
  EXPECT_EQ(json["models"][1]["status"], "done");
  EXPECT_EQ(json["models"][1]["error"], nullptr);
  EXPECT_EQ(json["models"][1]["sha256"], DumpReader(folder_ / "out/broken").info().model_sha256);
  EXPECT_THAT(read_file(folder_ / "out/index.html"), Not(HasSubstr("failed: ")));
}

TEST_F(SurveyProgram, OnlyWhatIsMissingOrHasChangedRunsAgain) {
  ASSERT_EQ(survey({"one", "two"}).exit_code, 0);
  auto one = dump_time("one"), two = dump_time("two");
  // Runs `survey` again and expects which of the two ran.
  const auto expect_runs = [&](const std::vector<std::string>& more, bool one_ran, bool two_ran, const char* why) {
    const auto result = survey({"one", "two"}, more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr(why));
    EXPECT_EQ(dump_time("one") != one, one_ran) << result.err;
    EXPECT_EQ(dump_time("two") != two, two_ran) << result.err;
    one = dump_time("one");
    two = dump_time("two");
  };
  expect_runs({}, false, false, "2 of 2: two (done before)");
  fs::remove(folder_ / "out/survey.json");
  expect_runs({}, false, false, "2 of 2: two (done before)");
  fs::remove(folder_ / "out/two/results/sinks.json");
  expect_runs({}, false, true, "two (again: results/sinks.json is missing)");
  testing::write_text(folder_ / "out/two/results/spikes.json", "{");
  expect_runs({}, false, true, "two (again: ");
  fs::last_write_time(folder_ / "out/one/results/spikes.json", one - std::chrono::hours(1));
  expect_runs({}, true, false, "one (again: results/spikes.json is older than the dump)");
  testing::write_tensors(folder_ / "one/model.safetensors", testing::tiny_tensors(14));
  expect_runs({}, true, false, "one (again: the checkpoint has changed)");
  fs::last_write_time(folder_ / "one/model.safetensors", fs::file_time_type::clock::now());
  expect_runs({}, false, false, "one (done before)");  // another time, the same weights
  expect_runs({"--dtype", "bf16"}, true, true, "one (again: its precision was float32, and is bfloat16 now)");
  expect_runs({"--dtype", "bf16", "--prompt", "more"}, true, true, "one (again: it is of other prompts)");
  expect_runs({"--dtype", "bf16", "--prompt", "more", "--losses"}, true, true, "one (again: it has no losses)");
  expect_runs({"--dtype", "bf16", "--prompt", "more"}, false, false, "one (done before)");
  expect_runs({"--dtype", "bf16", "--prompt", "more", "--points", "blocks.1.attn.q"}, true, true,
              "one (again: it has no blocks.1.attn.q)");
  expect_runs({"--dtype", "bf16", "--prompt", "more", "--force"}, true, true, "one (again: --force)");
}

TEST_F(SurveyProgram, ModelsOfOneNameGetFoldersOfTheirOwn) {
  testing::write_tiny_model(folder_ / "a/x");
  testing::write_tiny_model(folder_ / "b/x", 12);
  testing::write_tiny_model(folder_ / "figures", 13);
  const auto result = survey({"a/x", "b/x", "figures"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"a-x", "b-x", "figures-model"}) {
    EXPECT_EQ(status(name), "done");
    EXPECT_TRUE(fs::exists(folder_ / "out" / name / "report/index.html")) << name;
  }
}

TEST_F(SurveyProgram, TextsAndImagesGoWhereTheyCanBeRead) {
  testing::write_text(folder_ / "ids.json", "[[1, 5, 9, 44], [1, 7]]");
  const std::vector<std::string> arguments = {"survey",
                                              (testing::kept_models() / "clip").string(),
                                              (testing::kept_models() / "dinov2_with_registers_interp").string(),
                                              path("one"),
                                              "--ids",
                                              path("ids.json"),
                                              "--pixels",
                                              testing::pixels_of("clip", folder_).string(),
                                              "--out",
                                              path("out")};
  const auto result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"clip/text", "clip/vision", "dinov2_with_registers_interp", "one"}) {
    EXPECT_EQ(status(name), "done") << name;
    EXPECT_TRUE(fs::exists(folder_ / "out" / name / "report/index.html")) << name;
  }
  const auto before = dump_time("clip/vision");
  EXPECT_EQ(run_program(arguments).exit_code, 0);
  EXPECT_EQ(dump_time("clip/vision"), before) << "a second call finds nothing to do";
}

TEST_F(SurveyProgram, WrongCallsWriteNothing) {
  expect_failure(run_program({"survey"}), 2, "models");
  expect_failure(survey({"one", "one"}), 2, "is named twice");
  expect_failure(survey({"one"}, {"--model", path("two")}), 2, "--model");
  expect_failure(survey({"one"}, {"--text", path("missing.txt")}), 1, "missing.txt: no such file");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(SurveyProgram, ASurveyRecordThatIsBrokenIsWrittenAnew) {
  ASSERT_EQ(survey({"one"}).exit_code, 0);
  const auto one = dump_time("one");
  testing::write_text(folder_ / "out/survey.json", "{\"models\": [");
  const auto result = survey({"one"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("survey.json: line 1"), HasSubstr("(done before)")));
  EXPECT_EQ(dump_time("one"), one);
  EXPECT_EQ(status("one"), "done");
}

/// Within the second model, which takes seconds: the first stays, the second goes on where it was.
TEST_F(SurveyProgram, AnInterruptedSurveyGoesOn) {
  SKIP_WITHOUT_SMOLLM2();
#ifdef __SANITIZE_ADDRESS__
  constexpr int64_t kWindows = 1;  // its builds are some ten times slower
#else
  constexpr int64_t kWindows = 4;
#endif
  Json windows = Json::array();
  for (int64_t window = 0; window < kWindows; ++window)
    for (int64_t i = 0; i < 512; ++i) windows[window].push_back(i % 60);
  testing::write_text(folder_ / "ids.json", windows.dump());
  const std::vector<std::string> arguments = {
      "survey", path("one"), testing::smollm2_file().string(), "--out", path("out"), "--ids", path("ids.json")};
  const std::string second = testing::smollm2_file().filename().string();
  // As soon as there is something to go on from. (A shell's background process ignores SIGINT, not SIGTERM.)
  const std::string state = (folder_ / "out" / second / "dump.partial/state").string();
  const auto interrupted =
      run_program(arguments, "",
                  "sh -c '\"$@\" & i=0; until [ -e \"" + state +
                      "\" ] || [ $i -gt 2000 ]; do sleep 0.05; i=$((i + 1)); done; kill $!; wait $!' sh");
  EXPECT_NE(interrupted.exit_code, 0);
  EXPECT_THAT(interrupted.err, HasSubstr("stopped: 1 of 2 models are done; go on with the same command"));
  EXPECT_EQ(status("one"), "done");
  EXPECT_EQ(status(second), "unfinished");
  EXPECT_EQ(read_json_file(folder_ / "out/comparison.json")["models"].size(), 1u);
  const auto one = dump_time("one");
  const auto resumed = run_program(arguments);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, AllOf(HasSubstr("one (done before)"), HasSubstr("resumed from layer")));
  EXPECT_EQ(dump_time("one"), one);
  EXPECT_EQ(status(second), "done");
  EXPECT_EQ(read_json_file(folder_ / "out/comparison.json")["models"].size(), 2u);
}

TEST_F(SurveyProgram, RandomFirstTokensAndSeedAreTheRuns) {
  const auto with = [&](const std::string& count, const std::string& seed) {
    return survey({"one"}, {"--random-first", count, "--seed", seed});
  };
  ASSERT_EQ(with("4", "1").exit_code, 0);
  EXPECT_EQ(DumpReader(folder_ / "out/one").random_first(), 4);
  EXPECT_EQ(read_json_file(folder_ / "out/survey.json")["settings"]["random_first"], 4);
  EXPECT_THAT(with("4", "1").err, HasSubstr("done before"));
  EXPECT_THAT(with("5", "1").err, HasSubstr("again: it is of other prompts"));
  EXPECT_THAT(with("5", "2").err, HasSubstr("again: its seed was 1, and is 2 now"));
  EXPECT_EQ(DumpReader(folder_ / "out/one").random_first(), 5);
}

}  // namespace
}  // namespace spikescope
