// `spikescope intervene` through the real program.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/hdf5.h"
#include "io/json.h"
#include "program.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::ProgramResult;
using testing::run_program;
using ::testing::SizeIs;

/// The tiny model with the tokens 33 and 34 made spikes: 400 and 300 in dimension 5 of their embedding.
class Intervene : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "spiky");
    testing::write_tiny_model(folder_ / "plain");
    auto tensors = testing::tiny_tensors();
    tensors[0].values[33 * 16 + 5] = 400.0f;
    tensors[0].values[34 * 16 + 5] = 300.0f;
    testing::write_tensors(folder_ / "spiky/model.safetensors", tensors);
    // Each of three windows of 30 tokens has the spike first, and the second one inside it, too.
    Json windows = Json::array();
    for (int64_t window = 0; window < 3; ++window) {
      windows[window].push_back(window == 2 ? 34 : 33);
      for (int64_t t = 1; t < 30; ++t)
        windows[window].push_back(window == 1 && t == 9 ? 33 : (7 * t + 3 * window) % 31);
    }
    testing::write_text(folder_ / "ids.json", windows.dump());
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  ProgramResult intervene(std::vector<std::string> arguments, const std::string& model = "spiky") {
    arguments.insert(arguments.begin(), {"intervene", "--model", path(model), "--out", path("out")});
    return run_program(arguments);
  }
  /// Nothing but these, on ids.json.
  ProgramResult only(const std::vector<std::string>& specs) {
    std::vector<std::string> arguments = {"--ids", path("ids.json"), "--only"};
    for (const std::string& spec : specs) arguments.insert(arguments.end(), {"--spec", spec});
    return intervene(arguments);
  }
  Json results() const { return read_json_file(folder_ / "out/results/interventions.json"); }
  static const Json& find(const Json& results, const std::string& name) {
    for (const Json& run : results.at("runs"))
      if (run.at("name") == name) return run;
    ADD_FAILURE() << "no run " << name;
    return results.at("baseline");
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Intervene, FindsItsOwnPlanAndReportsIt) {
  const auto result = intervene({"--ids", path("ids.json"), "--json", "--spec", "scale:layer=0,dims=5,value=1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = results();
  EXPECT_EQ(parse_json(result.out, "standard output").at("runs"), json.at("runs"));
  ASSERT_THAT(json.at("plateaus"), SizeIs(1));
  EXPECT_EQ(json["plateaus"][0]["first"], 0);
  EXPECT_EQ(json["plateaus"][0]["dims"], Json({5}));
  for (const char* name : {"zero, r0 to r3", "mean, r0 to r3", "clamp to 20 %, r0 to r3", "random dimensions, r0 to r3",
                           "next dimensions, r0 to r3", "ordinary tokens, r0 to r3", "zero everywhere",
                           "templates inserted", "scale:layer=0,dims=5,value=1"}) {
    const Json& run = find(json, name);
    for (const char* key : {"loss", "se", "perplexity", "loss_position0", "sinks"})
      EXPECT_TRUE(run.at(key).is_number()) << name << " " << key;
    EXPECT_NEAR(run.at("perplexity").get<double>(), std::exp(run.at("loss").get<double>()), 1e-6);
  }
  const Json& nothing = find(json, "scale:layer=0,dims=5,value=1");
  EXPECT_EQ(nothing.at("difference"), 0.0);
  EXPECT_EQ(nothing.at("loss"), json["baseline"]["loss"]);
  EXPECT_EQ(nothing.at("alpha"), json["baseline"]["alpha"]);
  EXPECT_EQ(nothing.at("rows"), 4);
  EXPECT_EQ(find(json, "zero, r0 to r3").at("rows"), 4);
  EXPECT_GT(std::abs(find(json, "zero, r0 to r3").at("difference").get<double>()), 1e-3);
  const H5File arrays = H5File::open(folder_ / "out/results/interventions.h5");
  const auto sums = arrays.read<double>("/loss_sums");
  ASSERT_THAT(sums, SizeIs(3 * (json.at("runs").size() + 1)));
  EXPECT_NEAR((sums[0] + sums[1] + sums[2]) / 87, json["baseline"]["loss"].get<double>(), 1e-12);

  ASSERT_EQ(run_program({"report", path("out"), "--still"}).exit_code, 0);
  const std::string page = read_file(folder_ / "out/report/index.html");
  EXPECT_THAT(page, AllOf(HasSubstr("Interventions"), HasSubstr("arXiv 2402.17762"), HasSubstr("ordinary tokens")));
  for (const char* figure : {"interventions-loss.png", "interventions-attention.svg"})
    EXPECT_TRUE(fs::exists(folder_ / "out/report/figures" / figure)) << figure;
}

TEST_F(Intervene, PassesThatBeginInTheMiddleAreThoseFromTheStart) {
  // The same twice, the second time with a change in block 0 that is none.
  ASSERT_EQ(only({"zero:layer=2,dims=5", "zero:layer=2,dims=5 scale:layer=0,dims=0,tokens=all,value=1"}).exit_code, 0);
  const Json json = results();
  ASSERT_THAT(json["runs"], SizeIs(2));
  EXPECT_GT(std::abs(json["runs"][0]["difference"].get<double>()), 1e-3);
  for (const char* key : {"loss", "difference", "alpha", "spike_attention", "sinks"})
    EXPECT_EQ(json["runs"][0][key], json["runs"][1][key]) << key;
  // A dump in float16 is no state to begin with; the losses are those of float32 all the same.
  ASSERT_EQ(intervene({"--ids", path("ids.json"), "--storage", "float16", "--only", "--spec", "zero:layer=2,dims=5"})
                .exit_code,
            0);
  EXPECT_EQ(results()["runs"][0]["loss"], json["runs"][0]["loss"]);
}

TEST_F(Intervene, EveryKindOfChangeAgreesWithTheOthers) {
  ASSERT_EQ(only({"zero:layer=1,dims=5", "scale:layer=1,dims=5,value=0", "set:layer=1,dims=5,value=0",
                  "clamp:layer=1,dims=5,value=0", "clamp:layer=1,dims=5,value=1000", "mean:layer=1,dims=5,tokens=0",
                  "zero:layer=1,dims=5,tokens=500", "zero:point=attn_out,layer=0,dims=all,tokens=all"})
                .exit_code,
            0);
  const Json runs = results()["runs"];
  for (const size_t same : {1, 2, 3}) EXPECT_EQ(runs[same]["loss"], runs[0]["loss"]) << same;
  for (const size_t nothing : {4, 6}) EXPECT_EQ(runs[nothing]["difference"], 0.0) << nothing;
  EXPECT_EQ(runs[6]["rows"], 0);
  EXPECT_NE(runs[5]["difference"], 0.0);
  EXPECT_LT(std::abs(runs[5]["difference"].get<double>()), std::abs(runs[0]["difference"].get<double>()));
  EXPECT_NE(runs[7]["difference"], 0.0);
}

TEST_F(Intervene, TheSeedDecidesWhatIsRandom) {
  const auto specs = [&](const std::string& seed) {
    EXPECT_EQ(intervene({"--ids", path("ids.json"), "--seed", seed}).exit_code, 0);
    return find(results(), "random dimensions, r0 to r3").at("spec").get<std::string>();
  };
  const std::string first = specs("1");
  EXPECT_EQ(specs("1"), first);
  EXPECT_NE(specs("2"), first);
}

TEST_F(Intervene, WithoutSpikesOnlyWhatIsGivenIsRun) {
  const auto result = intervene({"--ids", path("ids.json"), "--spec", "zero:layer=1,dims=5,tokens=0"}, "plain");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("there are no spikes on these prompts: only what --spec names was run"));
  const Json json = results();
  EXPECT_THAT(json["plateaus"], IsEmpty());
  ASSERT_THAT(json["runs"], SizeIs(1));
  EXPECT_EQ(json["runs"][0]["given"], true);
  ASSERT_EQ(run_program({"report", path("out"), "--still"}).exit_code, 0);
  EXPECT_THAT(read_file(folder_ / "out/report/index.html"), HasSubstr("There are no spikes to change"));
  // Nothing given either: the baseline alone.
  EXPECT_EQ(intervene({}, "plain").exit_code, 0);
  EXPECT_THAT(results()["runs"], IsEmpty());
  EXPECT_EQ(run_program({"report", path("out"), "--still"}).exit_code, 0);
}

TEST_F(Intervene, WithoutPromptsTakesTheDumpThatIsThere) {
  ASSERT_EQ(run_program({"run", "--model", path("spiky"), "--out", path("out"), "--ids", path("ids.json")}).exit_code,
            0);
  const auto time = fs::last_write_time(folder_ / "out/dump/index.h5");
  ASSERT_EQ(intervene({"--only", "--spec", "zero:layer=1,dims=5"}).exit_code, 0);
  EXPECT_EQ(fs::last_write_time(folder_ / "out/dump/index.h5"), time);
  EXPECT_EQ(results()["tokens"], 90);
  expect_failure(intervene({}, "plain"), 1, "this is not the checkpoint of the dump");
  expect_failure(intervene({"--dtype", "bf16"}), 1, "the dump's pass was in float32");
  // Another run in the same folder: the report says that these are not its results.
  ASSERT_EQ(run_program({"run", "--model", path("spiky"), "--out", path("out"), "--prompt", "a bc d"}).exit_code, 0);
  EXPECT_THAT(read_file(folder_ / "out/report/index.html"),
              AllOf(HasSubstr("Not shown: these are results of"), HasSubstr("spikescope intervene")));
}

TEST_F(Intervene, AFailureLeavesEarlierResults) {
  ASSERT_EQ(intervene({"--ids", path("ids.json")}).exit_code, 0);
  const std::string before = read_file(folder_ / "out/results/interventions.json");
  expect_failure(intervene({"--quiet", "--spec", "scale:layer=1,dims=5,value=3e38"}), 1,
                 "intervention 'scale:layer=1,dims=5,value=3e38': blocks.1.resid_post is not finite");
  expect_failure(intervene({"--quiet", "--spec", "zero:layer=1"}), 2, "it needs dims");
  expect_failure(intervene({"--quiet", "--spec", "zero:layer=9,dims=1"}), 2, "the model's layers 0 to 2");
  expect_failure(intervene({"--quiet", "--only"}), 2, "--only: there is no --spec to run");
  EXPECT_EQ(read_file(folder_ / "out/results/interventions.json"), before);
  size_t files = 0;
  for ([[maybe_unused]] const auto& file : fs::directory_iterator(folder_ / "out/results")) ++files;
  EXPECT_EQ(files, 2u) << "nothing temporary is left";
  ASSERT_EQ(run_program({"capture", "--model", path("spiky"), "--out", path("out"), "--ids", path("ids.json"),
                         "--points", "blocks.2.resid_post"})
                .exit_code,
            0);
  expect_failure(intervene({"--quiet"}), 1, "the dump has no blocks.0.resid_pre; name prompts");
  testing::write_text(folder_ / "short.json", "[[1], [2]]");
  expect_failure(intervene({"--quiet", "--ids", path("short.json")}), 1, "no prompt has two tokens");
}

/// Ids of a kept model's golden file.
std::string golden_ids(const fs::path& model) {
  const SafetensorsFile golden = read_safetensors(model / "golden.safetensors");
  const TensorInfo& input = golden.tensors.require("input_ids");
  std::vector<int64_t> ids(input.bytes.size() / sizeof(int64_t));
  std::memcpy(ids.data(), input.bytes.data(), input.bytes.size());
  return Json({ids, ids}).dump();
}

TEST_F(Intervene, EveryFamilyRunsOrSaysWhyNot) {
  const std::map<std::string, std::string> refused = {
      {"bert", "bert models are encoders"},
      {"clip", "a model of texts and images has not"},
      {"dinov2_with_registers_interp", "read images"},
  };
  size_t models = 0;
  for (const auto& folder : fs::directory_iterator(testing::kept_models())) {
    const std::string name = folder.path().filename();
    SCOPED_TRACE(name);
    ++models;
    std::vector<std::string> arguments = {"intervene", "--quiet",  "--model", folder.path().string(),
                                          "--out",     path(name), "--spec",  "zero:layer=0,dims=0,tokens=0"};
    if (const auto why = refused.find(name); why != refused.end()) {
      expect_failure(run_program(arguments), 2, why->second);
      continue;
    }
    testing::write_text(folder_ / "golden.json", golden_ids(folder.path()));
    arguments.insert(arguments.end(), {"--ids", path("golden.json")});
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Json json = read_json_file(folder_ / name / "results/interventions.json");
    EXPECT_TRUE(json["baseline"]["loss"].is_number());
    EXPECT_NE(json["runs"].back()["difference"], 0.0);
  }
  EXPECT_GE(models, 20u);
}

TEST_F(Intervene, SmolLM2IsKnownByItsBaselineAlone) {
  SKIP_WITHOUT_SMOLLM2();
  const auto result = run_program({"intervene", "--model", testing::smollm2_file().string(), "--out", path("out"),
                                   "--prompt", "Summer is warm. Winter is cold.\n"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = results();
  EXPECT_EQ(find(json, "zero, r3 to r9").at("spec"), "zero:layer=3,dims=507,tokens=spikes");
  EXPECT_EQ(find(json, "zero, r12 to r28").at("spec"), "zero:layer=12,dims=507,tokens=spikes");
  EXPECT_EQ(find(json, "writers off, r12 to r28").at("spec"), "zero:point=mlp.post,layer=11,dims=1229+1487,tokens=all");
  EXPECT_EQ(json["plateaus"][1]["verdict"], "confirmed");
  EXPECT_TRUE(json["baseline"]["se"].is_null()) << "of one window";
}

TEST_F(Intervene, SmolLM2GivesTheFiguresOfTheSpecification) {
  SKIP_WITHOUT_SMOLLM2();
  SKIP_WITHOUT_SHARED("data/wikitext-2/wiki.valid.txt");
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "too slow with sanitizers";
#endif
  const std::string text = (testing::shared_folder() / "data/wikitext-2/wiki.valid.txt").string();
  struct Expected {
    const char* spec;
    double loss, tolerance;
  };
  const Expected expected[] = {
      {"zero:layer=3,dims=507,tokens=0", 5.20, 0.006},
      {"mean:layer=3,dims=507,tokens=0", 3.163, 0.004},
      {"zero:layer=12,dims=507", 14.07, 0.006},
      {"mean:layer=12,dims=507", 3.162, 0.004},
      {"zero:layer=12,dims=507,tokens=50", 3.160, 0.004},
      {"zero:point=mlp.post,layer=11,dims=1229+1487,tokens=all", 4.25, 0.006},
      // The reference holds the value at 5,000 and 1,000 in every state: a clamp at the first leaves it lower later on.
      {"set:layer=12-28,dims=507,tokens=0,value=5000", 6.04, 0.006},
      {"set:layer=12-28,dims=507,tokens=0,value=1000", 13.60, 0.006},
      // Its next ten dimensions go to their mean.
      {"mean:layer=12,dims=14+17+59+100+230+247+248+260+308+371,tokens=0", 3.161, 0.004},
  };
  std::vector<std::string> arguments = {"intervene", "--model",   testing::smollm2_file().string(),
                                        "--out",     path("out"), "--text",
                                        text,        "--windows", "6",
                                        "--length",  "256",       "--only"};
  for (const Expected& one : expected) arguments.insert(arguments.end(), {"--spec", one.spec});
  const auto result = run_program(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = results();
  EXPECT_NEAR(json["baseline"]["loss"].get<double>(), 3.1607, 5e-4);
  EXPECT_NEAR(json["baseline"]["loss_without_position0"].get<double>(), 3.140, 1e-3);
  EXPECT_NEAR(json["baseline"]["alpha"][24].get<double>(), 0.60, 0.01);
  for (size_t i = 0; i < std::size(expected); ++i)
    EXPECT_NEAR(json["runs"][i]["loss"].get<double>(), expected[i].loss, expected[i].tolerance) << expected[i].spec;
  // Zero does not switch the sink off, the writers do.
  EXPECT_NEAR(json["runs"][2]["alpha"][12].get<double>(), 0.95, 0.01);
  EXPECT_NEAR(json["runs"][5]["alpha"][24].get<double>(), 0.05, 0.01);
}

}  // namespace
}  // namespace spikescope
