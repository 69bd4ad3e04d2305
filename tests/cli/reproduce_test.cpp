// `spikescope reproduce` through the real program.
#include <gmock/gmock.h>

#include <set>

#include "hooks/hook_point.h"
#include "io/json.h"
#include "program.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProgramResult;
using testing::run_program;

constexpr const char* kPapers[] = {"2402.17762", "2606.02288"};

/// The tiny model with the tokens 33 and 34 made spikes, as in the tests of interventions.
class Reproduce : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "spiky");
    auto tensors = testing::tiny_tensors();
    tensors[0].values[33 * 16 + 5] = 400.0f;
    tensors[0].values[34 * 16 + 5] = 300.0f;
    testing::write_tensors(folder_ / "spiky/model.safetensors", tensors);
    Json windows = Json::array();
    for (int64_t window = 0; window < 3; ++window) {
      windows[window].push_back(window == 2 ? 34 : 33);
      for (int64_t t = 1; t < 40; ++t)
        windows[window].push_back(window == 1 && t == 9 ? 33 : (7 * t + 3 * window) % 31);
    }
    testing::write_text(folder_ / "ids.json", windows.dump());
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  ProgramResult reproduce(const std::string& paper, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"reproduce", paper, "--model", path("spiky"), "--out", path("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  Json registry(const std::string& paper) const {
    const ProgramResult result = run_program({"reproduce", paper, "--list", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "standard output").at(0);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Reproduce, ShowsEveryExhibitOfBothPapers) {
  for (const std::string paper : kPapers) {
    SCOPED_TRACE(paper);
    const ProgramResult result = reproduce(paper, {"--ids", path("ids.json"), "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json json = parse_json(result.out, "standard output");
    const fs::path folder = folder_ / ("out/reproduce/" + paper);
    EXPECT_EQ(json.at("page"), (folder / "index.html").string());
    EXPECT_EQ(read_json_file(folder / "reproduction.json").at("exhibits"), json.at("exhibits"));
    const std::string page = read_file(folder / "index.html");
    const Json exhibits = registry(paper).at("exhibits");
    ASSERT_EQ(json.at("exhibits").size(), exhibits.size());
    size_t shown = 0;
    std::set<std::string> ids;
    for (size_t i = 0; i < exhibits.size(); ++i) {
      const Json &asked = exhibits[i], &found = json.at("exhibits")[i];
      SCOPED_TRACE(asked.at("id").get<std::string>());
      for (const char* key : {"id", "name", "claim"}) EXPECT_EQ(found.at(key), asked.at(key));
      EXPECT_THAT(page, HasSubstr("id=\"section-" + asked.at("id").get<std::string>() + "\""));
      EXPECT_FALSE(found.at("why").get<std::string>().empty());
      if (found.at("verdict") == "not applicable") {
        EXPECT_TRUE(found.at("figures").empty());
        if (asked.at("why_not").is_string()) {
          EXPECT_EQ(found.at("why"), asked.at("why_not"));
        }
        continue;
      }
      ++shown;
      // Each figure that the registry names is there, on the page, and, but for tables, as files.
      for (const Json& glob : asked.at("figures")) {
        if (glob.get<std::string>().starts_with("spikes-writers")) continue;  // these spikes are in the embedding
        bool any = false;
        for (const Json& id : found.at("figures")) any |= glob_matches(glob.get<std::string>(), id.get<std::string>());
        EXPECT_TRUE(any) << glob;
      }
      for (const Json& id : found.at("figures")) ids.insert(id.get<std::string>());
    }
    EXPECT_GE(shown, paper == kPapers[0] ? 8u : 9u);
    for (const std::string& id : ids)
      for (const char* ending : {".svg", ".pdf", ".png", ".csv"})
        EXPECT_EQ(fs::exists(folder / "figures" / (id + ending)), !id.ends_with("-table")) << id << ending;
  }
}

TEST_F(Reproduce, UsesWhatIsThere) {
  ASSERT_EQ(reproduce(kPapers[0], {"--ids", path("ids.json")}).exit_code, 0);
  const auto time_of = [&](const char* file) { return fs::last_write_time(folder_ / "out" / file); };
  const auto dump = time_of("dump/index.h5"), spikes = time_of("results/spikes.json"),
             runs = time_of("results/interventions.json");
  EXPECT_FALSE(fs::exists(folder_ / "out/results/rope_bands.json"));  // this paper has no need of it
  // The other paper: with the same prompts named, and with none.
  for (const std::vector<std::string>& prompts : {std::vector<std::string>{"--ids", path("ids.json")}, {}}) {
    const ProgramResult result = reproduce(kPapers[1], prompts);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("InsertQuant"));
    EXPECT_EQ(time_of("dump/index.h5"), dump);
    EXPECT_EQ(time_of("results/spikes.json"), spikes);
    EXPECT_EQ(time_of("results/interventions.json"), runs);
  }
  EXPECT_TRUE(fs::exists(folder_ / "out/results/rope_bands.json"));
  // Other prompts make all of it anew, the other paper's results with them.
  testing::write_text(folder_ / "ids.json", "[[33,1,2,3,4,5,6,7,8,9,10,11,12],[34,2,1,2,3,1,2,3,4,5,6,7,8,9]]");
  const ProgramResult result = reproduce(kPapers[0], {"--ids", path("ids.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(time_of("dump/index.h5"), dump);
  for (const char* name : {"spikes", "rope_bands", "interventions"})
    EXPECT_EQ(read_json_file(folder_ / ("out/results/" + std::string(name) + ".json")).at("tokens"), 27) << name;
}

TEST_F(Reproduce, ModelsThatPredictNothingHaveNoInterventions) {
  const ProgramResult result =
      run_program({"reproduce", kPapers[0], "--model", (testing::kept_models() / "bert").string(), "--out",
                   path("bert"), "--ids", path("ids.json"), "--json"});
  if (!fs::exists(testing::kept_models() / "bert")) GTEST_SKIP() << "no golden BERT";
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json page = parse_json(result.out, "standard output");
  for (const Json& exhibit : page.at("exhibits"))
    if (exhibit.at("id") == "interventions") {
      EXPECT_THAT(exhibit.at("why").get<std::string>(), HasSubstr("encoders"));
    }
}

TEST_F(Reproduce, ListsWithoutAModel) {
  const ProgramResult result = run_program({"reproduce", "--list"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* text : {"2402.17762", "2606.02288", "Figure 1", "claim: ", "not made: "})
    EXPECT_THAT(result.out, HasSubstr(text));
  const ProgramResult one = run_program({"reproduce", "arXiv:2606.02288v1", "--list"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.out, Not(HasSubstr("2402.17762")));
}

TEST_F(Reproduce, SaysWhatIsWrong) {
  expect_failure(run_program({"reproduce", "1706.03762", "--model", path("spiky")}), 2,
                 "there is no paper '1706.03762' here; there are: 2402.17762, 2606.02288");
  expect_failure(run_program({"reproduce", "1706.03762", "--list"}), 2, "there is no paper");
  expect_failure(run_program({"reproduce", "--model", path("spiky")}), 2, "name a paper: 2402.17762 or 2606.02288");
  expect_failure(run_program({"reproduce", kPapers[0]}), 2, "--model");
  expect_failure(run_program({"reproduce", kPapers[0], "--model", path("nowhere")}), 1, "nowhere");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace spikescope
