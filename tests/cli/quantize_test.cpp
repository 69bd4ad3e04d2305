// The commands templates and quantize, through the real program, on a model with a planted spike.

#include <cmath>
#include <cstdlib>

#include "../planted_model.h"
#include "io/json.h"
#include "io/output_file.h"
#include "program.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProgramResult;
using testing::run_program;
namespace fs = std::filesystem;

/// A text whose windows of 32 tokens begin with the spike token, 'A'.
std::string planted_text(int windows) {
  std::string text;
  unsigned state = 7;
  for (int i = 0; i < 32 * windows; ++i) {
    state = state * 1103515245u + 12345u;
    text += i % 32 == 0 ? 'A' : static_cast<char>('B' + (state >> 16) % 60);
  }
  return text;
}

class Quantize : public ::testing::Test {
 protected:
  Quantize() {
    testing::write_planted_model(folder_ / "model", 1.0f);
    testing::write_text(folder_ / "text", planted_text(12));
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  ProgramResult calibrate(const std::string& out, const std::string& windows = "12",
                          std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"templates", "--model",  path("model"), "--text", path("text"), "--windows",
                                          windows,     "--length", "32",          "--out",  path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  ProgramResult quantize(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"quantize", "--model",    path("model"), "--templates", path("t.safetensors"),
                                          "--text",   path("text"), "--windows",   "12",          "--length",
                                          "32"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Quantize, CalibratesShowsAndCompares) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  ASSERT_EQ(calibrate("t.h5").exit_code, 0);
  const ProgramResult people = run_program({"templates", "show", path("t.safetensors")});
  EXPECT_THAT(people.out, AllOf(HasSubstr("born in block 0, dimension 3"), HasSubstr("cancelled in blocks"),
                                HasSubstr("R added after block 2")));
  const ProgramResult shown = run_program({"templates", "show", path("t.safetensors"), "--json"});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  const Json json = parse_json(shown.out, "standard output");
  EXPECT_EQ(json.at("applicable"), true);
  EXPECT_EQ(json.at("sets").at(0).at("birth"), 0);
  EXPECT_EQ(json.at("sets").at(0).at("tokens"), 12);
  EXPECT_EQ(json.at("ranges").at("ordinary").at("attn_in").size(), 4u);
  const ProgramResult other = run_program({"templates", "show", path("t.h5"), "--json"});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_EQ(parse_json(other.out, "standard output").at("ranges"), json.at("ranges"));

  const ProgramResult compared = quantize({"--compare", "--bits-activation", "8", "4", "--json"});
  ASSERT_EQ(compared.exit_code, 0) << compared.err;
  const Json rows = parse_json(compared.out, "standard output").at("rows");
  EXPECT_EQ(rows.at(0).at("method"), "fp");
  const auto find = [&](const std::string& method, const Json& bits) {
    for (const Json& row : rows)
      if (row.at("method") == method && row.at("bits_activation") == bits) return row;
    return Json();
  };
  for (const char* key : {"perplexity", "dnll", "dnll_se", "largest_h", "new_spikes", "bits_weight"})
    EXPECT_TRUE(find("insertquant", 4).contains(key)) << key;
  EXPECT_LT(std::abs(find("templates", nullptr).at("dnll").get<double>()), 0.01);
  EXPECT_LT(find("templates", nullptr).at("blocks").at(1).at("largest_h").get<double>(), 100.0);
  EXPECT_LT(std::abs(find("insertquant", 8).at("dnll").get<double>()),
            std::abs(find("naive", 8).at("dnll").get<double>()));
  EXPECT_THAT(quantize({"--method", "dynamic"}).out, AllOf(HasSubstr("fp"), HasSubstr("dynamic")));
}

TEST_F(Quantize, SaysWhatIsWrongAndOverwritesNothing) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const std::string before = read_file(folder_ / "t.safetensors");
  expect_failure(calibrate("t.safetensors", "5000"), 1, "windows of");
  expect_failure(calibrate("t.safetensors", "12", {"--eta", "0"}), 2, "eta");
  EXPECT_EQ(read_file(folder_ / "t.safetensors"), before);
  expect_failure(run_program({"templates"}), 2, "--model");
  expect_failure(run_program({"templates", "show", path("nothing")}), 1, "nothing");
  expect_failure(quantize({}), 2, "--method");
  expect_failure(quantize({"--method", "insertquan"}), 2, "did you mean 'insertquant'");
  expect_failure(quantize({"--method", "mse", "--bits-activation", "5"}), 2, "8, 6 and 4 bits");
  expect_failure(quantize({"--method", "mse", "--override", "up_in=none"}), 2, "up_in");
  testing::write_planted_model(folder_ / "model", 0.5f);
  expect_failure(quantize({"--method", "mse"}), 1, "another model");
  expect_failure(run_program({"templates", "--model", (testing::kept_models() / "bert").string(), "--text",
                              path("text"), "--out", path("b.safetensors")}),
                 2, "encoders");
}

TEST_F(Quantize, AModelWithoutSpikesGetsRangesAlone) {
  testing::write_tiny_model(folder_ / "model");
  const ProgramResult made = calibrate("t.safetensors");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("not applicable: "));
  expect_failure(quantize({"--method", "insertquant"}), 2, "needs templates");
  EXPECT_THAT(quantize({"--compare"}).out, AllOf(HasSubstr("naive"), Not(HasSubstr("insertquant"))));
}

TEST_F(Quantize, RotatedMethodsNeedRotatedRanges) {
  ASSERT_EQ(calibrate("t.safetensors", "12", {"--rotation", "none"}).exit_code, 0);
  expect_failure(quantize({"--method", "rotation"}), 2, "--rotation hadamard");
  EXPECT_THAT(quantize({"--compare"}).out, Not(HasSubstr("rotation")));
  for (const char* kind : {"hadamard", "random"}) {
    ASSERT_EQ(calibrate("t.safetensors", "12", {"--rotation", kind, "--seed", "3"}).exit_code, 0);
    const ProgramResult result =
        quantize({"--method", "rotation", "--method", "rotation-insertquant", "--bits-activation", "16", "--json"});
    // 16 bits have no calibrated clip of least error.
    expect_failure(result, 2, "8, 6 and 4 bits");
    const ProgramResult fine = quantize({"--method", "rotation", "--bits-activation", "16", "8", "--json"});
    ASSERT_EQ(fine.exit_code, 0) << fine.err;
    const Json rows = parse_json(fine.out, "standard output").at("rows");
    const auto loss = [&](size_t row) { return std::abs(rows.at(row).at("dnll").get<double>()); };
    EXPECT_LT(loss(1), 0.1 * loss(2)) << kind << ": a grid 256 times as fine";
    EXPECT_NE(rows.at(1).at("nll"), rows.at(0).at("nll"));
  }
}

TEST_F(Quantize, ASavedModelIsEvaluatedAsItWasMeasured) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const std::vector<std::string> how = {"--bits-weight", "8",           "--group", "channel",
                                        "--method",      "insertquant", "--json"};
  std::vector<std::string> save = how;
  save.insert(save.end(), {"--save", path("saved")});
  const ProgramResult saved = quantize(save);
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  const Json row = parse_json(saved.out, "standard output").at("rows").at(1);
  EXPECT_EQ(row.at("bits_weight"), 8);
  EXPECT_EQ(row.at("bits_activation"), 8);
  EXPECT_NE(row.at("dnll"), 0.0);
  const auto evaluate = [&] {
    return run_program(
        {"evaluate", "--model", path("saved"), "--text", path("text"), "--windows", "12", "--length", "32", "--json"});
  };
  const ProgramResult evaluated = evaluate();
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_NEAR(parse_json(evaluated.out, "standard output").at("nll").get<double>(), row.at("nll").get<double>(), 1e-9);

  // The recipe repeats the run, and the same run writes the same file.
  const ProgramResult again = quantize({"--recipe", path("saved/spikescope.json"), "--save", path("again"), "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(parse_json(again.out, "standard output").at("rows").at(1).at("nll"), row.at("nll"));
  EXPECT_EQ(read_file(folder_ / "again/model.safetensors"), read_file(folder_ / "saved/model.safetensors"));
  EXPECT_EQ(read_file(folder_ / "again/spikescope.json"), read_file(folder_ / "saved/spikescope.json"));

  expect_failure(quantize(save), 1, "is there already");
  expect_failure(quantize({"--method", "naive", "--save", path("other")}), 2, "--save writes one model");
  testing::write_text(folder_ / "saved/spikescope.json", R"({"format": "spikescope-recipe", "version": 2})");
  expect_failure(evaluate(), 1, "version 2");
}

TEST_F(Quantize, SmoothsChannelsByWhatTheFlagSays) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const auto loss = [&](std::vector<std::string> how) {
    how.emplace_back("--json");
    const ProgramResult result = quantize(how);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "standard output").at("rows").at(1).at("nll").get<double>();
  };
  const double half = loss({"--method", "smoothquant"});
  EXPECT_EQ(loss({"--method", "smoothquant", "--smooth", "0.5"}), half);
  EXPECT_NE(loss({"--method", "smoothquant", "--smooth", "0.9"}), half);
  EXPECT_NE(loss({"--method", "smoothquant", "--asymmetric"}), half);
  EXPECT_NE(loss({"--method", "naive"}), half);
  const Json fp = parse_json(quantize({"--method", "smoothquant-insertquant", "--json"}).out, "standard output");
  EXPECT_LT(std::abs(fp.at("rows").at(1).at("dnll").get<double>()), 0.05);
  expect_failure(quantize({"--method", "smoothquant", "--smooth", "1.5"}), 2, "--smooth");
  expect_failure(quantize({"--method", "smoothquant", "--bits-weight", "4", "--group", "8"}), 2,
                 "smoothing gives them");
  expect_failure(quantize({"--method", "smoothquant", "--override", "o_in=mse"}), 2, "the clip 'mse'");
}

TEST_F(Quantize, LeavesChannelsWithOutliersOut) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const auto row = [&](std::vector<std::string> how) {
    how.emplace_back("--json");
    const ProgramResult result = quantize(how);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "standard output").at("rows").at(1);
  };
  const Json none = row({"--method", "outlier-split", "--outliers", "1e9"});
  EXPECT_EQ(none.at("nll"), row({"--method", "dynamic"}).at("nll")) << "no channel is left out";
  EXPECT_FALSE(none.contains("share_of_outliers"));
  const Json all = row({"--method", "outlier-split", "--outliers", "1e-9", "--bits-activation", "2"});
  EXPECT_NEAR(all.at("dnll").get<double>(), 0.0, 1e-6) << "all are, but for those that are always 0";
  EXPECT_GT(all.at("share_of_outliers").get<double>(), 0.9);
  const Json some = row({"--method", "outlier-split"});
  EXPECT_GT(some.at("share_of_outliers").get<double>(), 0.0);
  EXPECT_LT(some.at("share_of_outliers").get<double>(), 0.9);
  EXPECT_NE(some.at("nll"), none.at("nll"));
  expect_failure(quantize({"--method", "outlier-split", "--outliers", "0"}), 2, "--outliers");
}

TEST_F(Quantize, PutsThePrefixInFrontOfEveryWindow) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const Json shown = parse_json(run_program({"templates", "show", path("t.safetensors"), "--json"}).out, "output");
  EXPECT_EQ(shown.at("prefix").at("ids"), Json({1}));
  EXPECT_EQ(shown.at("prefix").at("text"), "A");
  EXPECT_EQ(shown.at("prefix").at("spikes"), 12);
  EXPECT_EQ(shown.at("ranges").at("prefixed").at("o_in").at(1).at("rows"), 12 * 32);
  EXPECT_THAT(run_program({"templates", "show", path("t.safetensors")}).out, HasSubstr("prefix \"A\" (id 1)"));
  const ProgramResult result =
      quantize({"--method", "prefix", "--method", "prefixquant", "--method", "prefixquant-absmax", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json rows = parse_json(result.out, "standard output").at("rows");
  ASSERT_EQ(rows.size(), 4u);
  for (size_t row = 1; row < 4; ++row) {
    EXPECT_EQ(rows.at(row).at("prefix"), Json({{"ids", {1}}, {"text", "A"}}));
    for (size_t other = 0; other < row; ++other) EXPECT_NE(rows.at(row).at("nll"), rows.at(other).at("nll"));
  }
  EXPECT_TRUE(rows.at(1).at("bits_activation").is_null());

  ASSERT_EQ(calibrate("t.safetensors", "12", {"--prefix", "20,1"}).exit_code, 0);
  const Json other = parse_json(quantize({"--method", "prefix", "--json"}).out, "standard output").at("rows").at(1);
  EXPECT_EQ(other.at("prefix").at("text"), "TA");
  EXPECT_NE(other.at("nll"), rows.at(1).at("nll"));

  expect_failure(calibrate("x.safetensors", "12", {"--prefix", "A"}), 2, "token ids with commas");
  expect_failure(calibrate("x.safetensors", "12", {"--prefix", "64"}), 1, "id 64");
  ASSERT_EQ(calibrate("t.safetensors", "12", {"--prefix", "none"}).exit_code, 0);
  expect_failure(quantize({"--method", "prefixquant"}), 2, "--prefix auto");
  EXPECT_THAT(quantize({"--compare"}).out, AllOf(Not(HasSubstr("prefix")), HasSubstr("smoothquant")));
}

TEST_F(Quantize, ASavedModelIsEvaluatedBehindItsPrefix) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const ProgramResult saved = quantize(
      {"--bits-weight", "8", "--group", "channel", "--method", "prefixquant", "--save", path("saved"), "--json"});
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  const Json row = parse_json(saved.out, "standard output").at("rows").at(1);
  const auto evaluate = [&](const std::string& length) {
    return run_program({"evaluate", "--model", path("saved"), "--text", path("text"), "--length", length, "--json"});
  };
  const ProgramResult evaluated = evaluate("32");
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_NEAR(parse_json(evaluated.out, "standard output").at("nll").get<double>(), row.at("nll").get<double>(), 1e-9);
  expect_failure(evaluate("512"), 2, "its prefix takes 1");

  // Recipes of before there were outliers and smoothing.
  Json recipe = read_json_file(folder_ / "saved/spikescope.json");
  EXPECT_EQ(recipe.at("activations").at("smooth"), 0.5);
  recipe["activations"].erase("smooth");
  recipe["activations"].erase("outliers");
  testing::write_text(folder_ / "saved/spikescope.json", recipe.dump());
  EXPECT_EQ(parse_json(evaluate("32").out, "standard output").at("nll"),
            parse_json(evaluated.out, "standard output").at("nll"));
  recipe["activations"]["smooth"] = 2;
  testing::write_text(folder_ / "saved/spikescope.json", recipe.dump());
  expect_failure(evaluate("32"), 2, "--smooth 2");
}

TEST_F(Quantize, ComparesWeightsAndActivationsInOneTable) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const ProgramResult result =
      quantize({"--compare", "--bits-weight", "4", "--group", "8", "--out", path("table.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json rows = read_json_file(folder_ / "table.json").at("rows");
  size_t with_weights = 0;
  for (const Json& row : rows) with_weights += row.at("bits_weight") == 4;
  size_t smoothed = 0;
  for (const Json& row : rows) smoothed += row.at("method").get<std::string>().starts_with("smoothquant");
  EXPECT_EQ(smoothed, 2u) << "with weights as they are";
  EXPECT_EQ(2 * with_weights, rows.size() - smoothed) << "all others with weights as they are, and quantized";
}

/// A Python with torch, transformers and safetensors; empty: none.
std::string transformers_python() {
  const char* named = std::getenv("SPIKESCOPE_TRANSFORMERS_PYTHON");
  for (const std::string program : {std::string(named ? named : ""), std::string("python3")})
    if (!program.empty() &&
        std::system(
            (testing::shell_quoted(program) + " -c 'import torch, transformers, safetensors' 2> /dev/null").c_str()) ==
            0)
      return program;
  return "";
}

/// The Python of docs/template-format.md.
std::string documented_python() {
  const std::string page = read_file(fs::path(SPIKESCOPE_SOURCE_DIR) / "docs/template-format.md");
  const std::string begin = "```python\n";
  const size_t from = page.find(begin) + begin.size();
  return page.substr(from, page.find("```", from) - from);
}

TEST_F(Quantize, TheDocumentedHooksGiveTheSameLosses) {
  const std::string python = transformers_python();
  if (python.empty())
    GTEST_SKIP() << "no python3 with torch, transformers and safetensors; set SPIKESCOPE_TRANSFORMERS_PYTHON";
  for (const float cancelled : {1.0f, 0.5f}) {
    testing::write_planted_model(folder_ / "model", cancelled);
    ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
    const ProgramResult ours = quantize({"--method", "templates", "--json"});
    ASSERT_EQ(ours.exit_code, 0) << ours.err;
    const Json rows = parse_json(ours.out, "standard output").at("rows");

    testing::write_text(folder_ / "losses.py", documented_python() + R"(

import sys
from transformers import AutoModelForCausalLM

folder, templates, text = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
ids = torch.tensor([ord(c) - 64 for c in open(text).read()]).view(12, 32)
def loss():
    with torch.no_grad():
        logits = model(ids).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).double(), ids[:, 1:].flatten()).item()
plain = loss()
insert_templates(model, templates)
print(json.dumps([plain, loss()]))
)");
    ASSERT_EQ(std::system((testing::shell_quoted(python) + " " + path("losses.py") + " " + path("model") + " " +
                           path("t.safetensors") + " " + path("text") + " > " + path("losses.json"))
                              .c_str()),
              0);
    const Json theirs = read_json_file(folder_ / "losses.json");
    EXPECT_NEAR(rows.at(0).at("nll").get<double>(), theirs.at(0).get<double>(), 1e-4) << cancelled;
    EXPECT_NEAR(rows.at(1).at("nll").get<double>(), theirs.at(1).get<double>(), 1e-4) << cancelled;
    EXPECT_NE(theirs.at(0), theirs.at(1));
  }
}

}  // namespace
}  // namespace spikescope
