// `spikescope evaluate` through the real program.
#include <gmock/gmock.h>

#include <cmath>

#include "io/json.h"
#include "program.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using testing::ProgramResult;
using testing::run_program;
using ::testing::SizeIs;

constexpr const char* kText =
    "Summer is warm. Winter is cold. Autumn is between them, and Spring comes after all that.";
constexpr const char* kRows =
    "{\"question\": \"Is it warm\", \"choices\": [\"yes it is\", \"no\"], \"label\": 0}\n"
    "{\"question\": \"Is it cold\", \"choices\": [\"yes\", \"no it is\"], \"label\": 1}\n"
    "{\"question\": \"Is it\", \"choices\": [\"a\", \"b\"], \"label\": 1}\n";

class Evaluate : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    testing::write_text(folder_ / "text", kText);
    fs::create_directories(folder_ / "tasks");
    testing::write_text(folder_ / "tasks/piqa.jsonl", kRows);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  ProgramResult run(std::vector<std::string> more, const std::string& model = "tiny") const {
    more.insert(more.begin(), {"evaluate", "--model", path(model)});
    return run_program(more);
  }
  Json json_of(std::vector<std::string> more, const std::string& model = "tiny") const {
    more.push_back("--json");
    const ProgramResult result = run(std::move(more), model);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "standard output");
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Evaluate, MeasuresPerplexity) {
  const Json json = json_of({"--text", path("text"), "--length", "16", "--windows", "4", "--out", path("a.json")});
  EXPECT_EQ(json.at("windows"), 4);
  EXPECT_EQ(json.at("length"), 16);
  EXPECT_EQ(json.at("bos"), "none");
  EXPECT_DOUBLE_EQ(json.at("perplexity"), std::exp(json.at("nll").get<double>()));
  EXPECT_GT(json.at("nll_se"), 0.0);
  EXPECT_DOUBLE_EQ(json.at("bits_per_byte"), json.at("nll").get<double>() / std::log(2)) << "a token is a byte here";
  EXPECT_FALSE(json.contains("per_window"));

  // The same losses as a capture of the same windows.
  const ProgramResult capture = run_program({"capture", "--model", path("tiny"), "--out", path("dump"), "--text",
                                             path("text"), "--length", "16", "--windows", "4", "--losses", "--json"});
  ASSERT_EQ(capture.exit_code, 0) << capture.err;
  EXPECT_NEAR(parse_json(capture.out, "capture").at("mean_loss"), json.at("nll"), 1e-6);

  const Json file = read_json_file(folder_ / "a.json");
  EXPECT_EQ(file.at("analysis"), "evaluate");
  EXPECT_THAT(file.at("per_window").at("nll"), SizeIs(4));
  EXPECT_EQ(file.at("nll"), json.at("nll"));
  EXPECT_FALSE(fs::exists(folder_ / "a.json.partial"));

  const ProgramResult text = run({"--text", path("text"), "--out", path("out")});
  EXPECT_EQ(text.exit_code, 1) << "2,048 tokens a window are more than the text, 512 of the context too";
  EXPECT_THAT(text.err, HasSubstr("0 windows of 512"));
}

TEST_F(Evaluate, ComparesWithAReference) {
  testing::write_tiny_model(folder_ / "other", 12);
  const std::vector<std::string> windows = {"--text", path("text"), "--length", "16"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), windows.begin(), windows.end());
    return more;
  };
  const Json other = json_of(with({"--out", path("runs")}), "other");
  const Json model = json_of(with({"--reference", path("other")}));
  const Json file = json_of(with({"--reference", path("runs/results/evaluate.json")}));
  for (const char* key : {"dnll", "dnll_se", "dnll_without_position0", "nll"}) EXPECT_EQ(model.at(key), file.at(key));
  EXPECT_NEAR(model.at("dnll").get<double>(), model.at("nll").get<double>() - other.at("nll").get<double>(), 1e-12);
  EXPECT_EQ(model.at("reference").at("nll"), other.at("nll"));
  const Json itself = json_of(with({"--reference", path("tiny")}));
  EXPECT_EQ(itself.at("dnll"), 0.0);
  EXPECT_EQ(itself.at("dnll_se"), 0.0);
  EXPECT_THAT(run(with({"--reference", path("other")})).out,
              AllOf(HasSubstr("against other"), HasSubstr("perplexity")));

  const std::string kept = path("runs/results/evaluate.json");
  expect_failure(run({"--text", path("text"), "--length", "8", "--reference", kept}), 1, "windows of 16 tokens, not 8");
  testing::write_text(folder_ / "text2", std::string(kText) + " More.");
  expect_failure(run({"--text", path("text2"), "--length", "16", "--reference", kept}), 1, "another text");
  testing::write_text(folder_ / "broken.json", "{\"analysis\": \"spikes\"}");
  expect_failure(run(with({"--reference", path("broken.json")})), 1, "not a result of");
}

TEST_F(Evaluate, GoesOnWithWhatIsThere) {
  const auto call = [&](const std::string& windows, const std::string& rows, std::vector<std::string> more) {
    more.insert(more.end(), {"--text", path("text"), "--length", "16", "--windows", windows, "--tasks", path("tasks"),
                             "--rows", rows, "--batch", "1"});
    return more;
  };
  Json whole = json_of(call("5", "3", {"--out", path("whole.json")}));
  json_of(call("2", "1", {"--out", path("part.json")}));
  // As a killed call leaves it.
  fs::rename(folder_ / "part.json", folder_ / "part.json.partial");
  const ProgramResult resumed = run(call("5", "3", {"--out", path("part.json"), "--resume"}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, AllOf(HasSubstr("2 of 5 windows"), HasSubstr("1 of 3 questions")));
  Json part = read_json_file(folder_ / "part.json"), once = read_json_file(folder_ / "whole.json");
  part.erase("seconds");
  once.erase("seconds");
  EXPECT_EQ(part, once) << "to the bit";
  EXPECT_FALSE(fs::exists(folder_ / "part.json.partial"));
  Json again = json_of(call("5", "3", {"--out", path("part.json"), "--resume"}));
  again.erase("seconds");
  whole.erase("seconds");
  EXPECT_EQ(again, whole);

  const auto refused = [&](std::vector<std::string> more, const std::string& why, const std::string& model = "tiny") {
    more.insert(more.end(), {"--out", path("part.json"), "--resume"});
    expect_failure(run(more, model), 1, why);
  };
  refused({"--text", path("text"), "--length", "8"}, "windows of 16 tokens, not 8");
  refused(call("5", "3", {"--dtype", "bf16"}), "--dtype float32, not bfloat16");
  testing::write_tiny_model(folder_ / "other", 12);
  refused(call("5", "3", {}), "other weights", "other");
  testing::write_text(folder_ / "tasks/piqa.jsonl", std::string(kRows) + kRows);
  refused(call("5", "3", {}), "another file of the task piqa");
}

TEST_F(Evaluate, ScoresTasks) {
  const Json json = json_of({"--tasks", path("tasks"), "--out", path("out")});
  const Json& piqa = json.at("tasks").at("piqa");
  EXPECT_EQ(piqa.at("rows"), 3);
  EXPECT_FALSE(piqa.contains("loglikelihoods"));
  EXPECT_EQ(json.at("mean_acc"), piqa.at("acc"));
  const Json file = read_json_file(folder_ / "out/results/evaluate.json");
  EXPECT_THAT(file.at("tasks").at("piqa").at("loglikelihoods"), SizeIs(3));
  EXPECT_EQ(json_of({"--tasks", path("tasks"), "--task", "piqa", "--rows", "2"}).at("tasks").at("piqa").at("rows"), 2);
  const ProgramResult text = run({"--tasks", path("tasks")});
  EXPECT_THAT(text.out, AllOf(HasSubstr("piqa"), HasSubstr("acc_norm")));
  EXPECT_THAT(text.err, HasSubstr("ARC-Easy is left out"));
}

TEST_F(Evaluate, SaysWhatItCannotDo) {
  expect_failure(run({}), 2, "--text FILE");
  expect_failure(run({"--text", path("none")}), 1, "none");
  expect_failure(run({"--text", path("text"), "--length", "1"}), 2, "--length is 1");
  expect_failure(run({"--text", path("text"), "--length", "513"}), 2, "the model's context is 512");
  expect_failure(run({"--text", path("text"), "--length", "16", "--windows", "99"}), 1, "99 were asked for");
  expect_failure(run({"--text", path("text"), "--length", "16", "--bos", "always"}), 2, "names no BOS");
  expect_failure(run({"--text", path("text"), "--resume"}), 2, "--out");
  expect_failure(run({"--text", path("text"), "--rows", "3"}), 2, "--tasks");
  expect_failure(run({"--tasks", path("tasks"), "--reference", path("tiny")}), 2, "--text");
  expect_failure(run({"--tasks", path("tasks"), "--task", "arc_easy"}), 1, "arc_easy.jsonl");
  expect_failure(run({"--tasks", path("tasks"), "--task", "mmlu"}), 2, "there is no task 'mmlu'");
  expect_failure(run({"--tasks", folder_.path().string()}), 1, "no file of a task");
  testing::write_text(folder_ / "tasks/piqa.jsonl", std::string(kRows) + "{}\n");
  expect_failure(run({"--tasks", path("tasks")}), 1, "piqa.jsonl, line 4");
  const std::vector<std::string> text = {"--text", path("text"), "--length", "16"};
  const auto golden = [&](const char* model) {
    std::vector<std::string> call = {"evaluate", "--model", (testing::kept_models() / model).string()};
    call.insert(call.end(), text.begin(), text.end());
    return run_program(call);
  };
  expect_failure(golden("bert"), 2, "encoders");
  expect_failure(golden("clip"), 2, "texts and images");
  expect_failure(golden("dinov2_with_registers_interp"), 2, "images");
}

}  // namespace
}  // namespace spikescope
