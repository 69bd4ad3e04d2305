// `spikescope quantize` of weights through the real program.
#include <gmock/gmock.h>

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

class QuantizeWeights : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    std::string text;
    for (int i = 0; i < 400; ++i) text += static_cast<char>('A' + i * i % 26);
    testing::write_text(folder_ / "text", text);
  }
  ProgramResult quantize(const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"quantize", path("tiny"), "--save", path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  const testing::TemporaryFolder folder_;
};

TEST_F(QuantizeWeights, SavesWhatOtherCommandsRead) {
  const ProgramResult result = quantize("w4", {"--bits-weight", "4", "--group", "8"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("21 matrices by rtn"), HasSubstr("groups of 8")));
  const ProgramResult inspected = run_program({"inspect", path("w4"), "--no-estimate"});
  ASSERT_EQ(inspected.exit_code, 0) << inspected.err;
  EXPECT_THAT(inspected.out, AllOf(HasSubstr("quantized"), HasSubstr("Linear: 4 bits, groups of 8, symmetric"),
                                   HasSubstr("21 x INT4")));
  const Json json = parse_json(run_program({"inspect", path("w4"), "--no-estimate", "--json"}).out, "inspect");
  EXPECT_EQ(json["quantization"]["matrices"], 21);
  EXPECT_EQ(json["quantization"]["groups"][0]["bits"], 4);
  const ProgramResult captured = run_program({"capture", "--model", path("w4"), "--out", path("out"), "--text",
                                              path("text"), "--windows", "2", "--length", "32", "--losses", "--json"});
  ASSERT_EQ(captured.exit_code, 0) << captured.err;
}

TEST_F(QuantizeWeights, ByGptq) {
  const ProgramResult result =
      quantize("w3", {"--bits-weight", "3", "--group", "channel", "--weights", "gptq", "--act-order",
                      "--asymmetric-weights", "--clip-weights", "mse", "--scales", "bf16", "--calibration",
                      path("text"), "--calibration-windows", "4", "--calibration-length", "64", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "quantize");
  const Json saved = json.at("saved");
  EXPECT_EQ(saved["format"], "3 bits, one scale a row, asymmetric");
  EXPECT_GT(saved["output_error"].get<double>(), 0.0);
  EXPECT_EQ(saved["matrices"], 21);
}

TEST_F(QuantizeWeights, SaysWhatIsWrong) {
  expect_failure(quantize("out", {"--bits-weight", "4", "--group", "7"}), 2,
                 "groups of 7 do not divide its 16 columns");
  expect_failure(quantize("out", {"--bits-weight", "4", "--group", "many"}), 2, "expected a number of columns");
  expect_failure(quantize("out", {"--bits-weight", "4", "--weights", "gptq"}), 2, "needs calibration text");
  expect_failure(quantize("tiny", {"--bits-weight", "4", "--group", "8"}), 1, "is there already");
  expect_failure(run_program({"quantize", path("tiny"), "--bits-weight", "9", "--save", path("out")}), 2,
                 "--bits-weight");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace spikescope
