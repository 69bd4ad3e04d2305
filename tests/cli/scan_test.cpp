// `spikescope scan` through the real program.
#include <gmock/gmock.h>

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

/// The tiny model whose neuron 7 of block 0 writes to dimension 5 and neuron 3 of block 2 cancels it; both read
/// token 33.
class Scan : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    auto tensors = testing::tiny_tensors();
    const auto values = [&](const std::string& name) -> std::vector<float>& {
      for (auto& tensor : tensors)
        if (tensor.name == name) return tensor.values;
      throw std::logic_error(name);
    };
    for (const auto& [block, neuron, written] : {std::tuple{0, size_t{7}, 300.0f}, {2, size_t{3}, -60.0f}}) {
      const std::string mlp = "model.layers." + std::to_string(block) + ".mlp.";
      for (size_t i = 0; i < 16; ++i) {
        const float along = values("model.embed_tokens.weight")[33 * 16 + i];
        for (const char* name : {"gate_proj.weight", "up_proj.weight"}) values(mlp + name)[neuron * 16 + i] = along;
      }
      values(mlp + "down_proj.weight")[5 * 24 + neuron] = written;
    }
    testing::write_tensors(folder_ / "tiny/model.safetensors", tensors);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  testing::TemporaryFolder folder_;
};

TEST_F(Scan, ListsCandidates) {
  const ProgramResult result = run_program({"scan", path("tiny"), "--json", "--top", "4"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "standard output");
  EXPECT_EQ(json.at("applicable"), true);
  EXPECT_EQ(json.at("leading"), Json({5}));
  ASSERT_THAT(json.at("dims"), SizeIs(4));
  EXPECT_EQ(json["dims"][0]["dim"], 5);
  EXPECT_EQ(json["dims"][0]["bound_block"], 0);
  EXPECT_THAT(json.at("neurons"), SizeIs(12));
  EXPECT_EQ(json["neurons"][0]["index"], 7);
  EXPECT_EQ(json["neurons"][0]["effect"], "writes");
  EXPECT_EQ(json["tokens"]["blocks"], 1);
  EXPECT_EQ(json["tokens"]["inside"]["tokens"][0]["id"], 33);
  EXPECT_EQ(json["tokens"]["inside"]["tokens"][0]["string"], "a");

  const ProgramResult text = run_program({"scan", "--model", path("tiny")});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("leading"), HasSubstr("block 0 neuron 7"), HasSubstr("'a'")));
  const ProgramResult none = run_program({"scan", path("tiny"), "--token-blocks", "0"});
  EXPECT_THAT(none.out, HasSubstr("no tokens: not asked for"));
}

TEST_F(Scan, IsJudgedAgainstARunAndShownInItsReport) {
  ASSERT_EQ(run_program({"run", "--model", path("tiny"), "--out", path("out"), "--prompt", "abcdefghijklmnop",
                         "--prompt", "qrstabcdefuvwxyz"})
                .exit_code,
            0);
  const ProgramResult result =
      run_program({"scan", path("tiny"), "--out", path("out"), "--against", path("out"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = read_json_file(folder_ / "out/results/scan.json");
  const Json printed = parse_json(result.out, "standard output");
  for (const char* key : {"dims", "neurons", "tokens", "against", "leading", "model_sha256"})
    EXPECT_EQ(json.at(key), printed.at(key)) << key;
  EXPECT_EQ(json.at("analysis"), "scan");
  EXPECT_EQ(json.at("against").at("windows"), 2);
  const H5File arrays = H5File::open(folder_ / "out/results/scan.h5");
  EXPECT_THAT(arrays.shape("/bound"), ::testing::ElementsAre(3, 16));
  EXPECT_THAT(arrays.read<double>("/surprise"), SizeIs(3 * 16));
  EXPECT_THAT(arrays.read<double>("/log10_expected"), SizeIs(16));

  ASSERT_EQ(run_program({"report", path("out"), "--still"}).exit_code, 0);
  std::string page = read_file(folder_ / "out/report/index.html");
  EXPECT_THAT(page, AllOf(HasSubstr("From the weights alone"), HasSubstr("The weights point at dimension 5")));
  for (const char* figure : {"scan-surprise.png", "scan-bound.svg"})
    EXPECT_TRUE(fs::exists(folder_ / "out/report/figures" / figure)) << figure;

  // Results of another model are not shown as if they were of this one.
  testing::write_tiny_model(folder_ / "other", 12);
  ASSERT_EQ(run_program({"scan", path("other"), "--out", path("out")}).exit_code, 0);
  ASSERT_EQ(run_program({"report", path("out"), "--still"}).exit_code, 0);
  page = read_file(folder_ / "out/report/index.html");
  EXPECT_THAT(page, AllOf(HasSubstr("other weights"), Not(HasSubstr("The weights point at dimension 5"))));
  expect_failure(run_program({"scan", path("other"), "--against", path("out")}), 1, "");
}

TEST_F(Scan, SaysWhatItCannotDo) {
  const fs::path bert = testing::kept_models() / "bert";
  const ProgramResult result = run_program({"scan", bert.string(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "standard output");
  EXPECT_EQ(json.at("applicable"), false);
  EXPECT_THAT(json.at("why").get<std::string>(), HasSubstr("norm stands after"));
  EXPECT_THAT(run_program({"scan", bert.string()}).out, HasSubstr("not applicable"));

  expect_failure(run_program({"scan"}), 2, "model");
  expect_failure(run_program({"scan", path("nowhere")}), 1, "nowhere");
  expect_failure(run_program({"scan", path("tiny"), "--top", "0"}), 2, "--top");
  expect_failure(run_program({"scan", path("tiny"), "--against", path("nothing")}), 1, "spikes.json");
  expect_failure(run_program({"scan", (testing::kept_models() / "clip").string()}), 2, "--tower");
  const ProgramResult tower =
      run_program({"scan", (testing::kept_models() / "clip").string(), "--tower", "vision", "--json"});
  ASSERT_EQ(tower.exit_code, 0) << tower.err;
  EXPECT_EQ(parse_json(tower.out, "standard output").at("tokens").at("applicable"), false);
}

}  // namespace
}  // namespace spikescope
