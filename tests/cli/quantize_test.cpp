// The commands templates and quantize, through the real program, on a model with a planted spike.

#include <cmath>
#include <cstdlib>

#include "../planted_model.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/output_file.h"
#include "model/int8_product.h"
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
                                HasSubstr("attention bias                  blocks 1 to 2, k' and v' of 2 heads"),
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
  EXPECT_LT(std::abs(find("attention-bias-kept", nullptr).at("dnll").get<double>()),
            std::abs(find("attention-masked", nullptr).at("dnll").get<double>()));
  EXPECT_LT(find("attention-bias", nullptr).at("blocks").at(1).at("largest_h").get<double>(), 100.0);
  EXPECT_GT(find("attention-bias-kept", nullptr).at("blocks").at(1).at("largest_h").get<double>(), 6000.0);
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
  EXPECT_THAT(quantize({"--compare"}).out,
              AllOf(HasSubstr("naive"), Not(HasSubstr("insertquant")), Not(HasSubstr("attention-"))));
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

TEST_F(Quantize, AnAttentionBiasNeedsAModelThatCanHaveOne) {
  // With a sliding window a bias has no place. Masking has.
  Json config = testing::planted_config();
  config["model_type"] = "mistral";
  config["sliding_window"] = 16;
  testing::write_text(folder_ / "model/config.json", config.dump());
  const ProgramResult made = calibrate("t.safetensors");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, Not(HasSubstr("attention bias")));
  expect_failure(quantize({"--method", "attention-bias"}), 2, "sliding windows");
  const ProgramResult masked = quantize({"--method", "attention-masked"});
  EXPECT_EQ(masked.exit_code, 0) << masked.err;
  EXPECT_THAT(quantize({"--compare"}).out, AllOf(HasSubstr("attention-masked"), Not(HasSubstr("attention-bias"))));
}

TEST_F(Quantize, ASavedModelKeepsItsAttentionBias) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const ProgramResult saved = quantize(
      {"--method", "attention-bias", "--bits-weight", "8", "--group", "channel", "--json", "--save", path("saved")});
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  const Json row = parse_json(saved.out, "standard output").at("rows").at(1);
  EXPECT_EQ(row.at("bits_activation"), nullptr);
  const ProgramResult evaluated = run_program(
      {"evaluate", "--model", path("saved"), "--text", path("text"), "--windows", "12", "--length", "32", "--json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_NEAR(parse_json(evaluated.out, "standard output").at("nll").get<double>(), row.at("nll").get<double>(), 1e-9);
}

TEST_F(Quantize, WeightsGoWithTheActivations) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const auto rows_of = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--bits-weight", "3", "--group", "8", "--json"});
    const ProgramResult result = quantize(more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "standard output").at("rows");
  };
  // At 16 bits of activations the weights alone matter: rotated methods have rotated ones.
  const Json plain = rows_of({"--method", "naive", "--method", "rotation", "--bits-activation", "16"});
  ASSERT_EQ(plain.size(), 3u);
  EXPECT_GT(std::abs(plain.at(1).at("nll").get<double>() - plain.at(2).at("nll").get<double>()), 1e-3);

  const std::vector<std::string> gptq = {
      "--method", "insertquant",          "--weights", "gptq", "--calibration", path("text"), "--calibration-windows",
      "12",       "--calibration-length", "32"};
  std::vector<std::string> without = gptq;
  without.emplace_back("--plain-calibration");
  EXPECT_NE(rows_of(gptq).at(1).at("nll"), rows_of(without).at(1).at("nll"));
  expect_failure(
      quantize({"--method", "rotation-insertquant", "--bits-weight", "4", "--group", "8", "--save", path("saved")}), 2,
      "no word for");
  EXPECT_FALSE(fs::exists(folder_ / "saved"));
  const ProgramResult balanced =
      quantize({"--method", "balanced-insertquant", "--bits-activation", "4", "--bits-kv", "4", "--json"});
  ASSERT_EQ(balanced.exit_code, 0) << balanced.err;
  EXPECT_EQ(parse_json(balanced.out, "standard output").at("rows").at(1).at("bits_kv"), 4);
  expect_failure(quantize({"--method", "templates", "--bits-kv", "1"}), 2, "--bits-kv");
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

  // Recipes of before there was a choice of GPTQ's calibration are read as they were meant.
  Json recipe = read_json_file(folder_ / "saved/spikescope.json");
  EXPECT_EQ(recipe.at("weights").at("as_run"), true);
  recipe["weights"].erase("as_run");
  testing::write_text(folder_ / "old.json", recipe.dump());
  EXPECT_EQ(quantize({"--recipe", path("old.json"), "--json"}).exit_code, 0);

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
  const Json replaced = parse_json(quantize({"--method", "smoothquant-insertquant", "--json"}).out, "standard output");
  EXPECT_LT(replaced.at("rows").at(1).at("blocks").at(1).at("largest_h").get<double>(), 100.0) << "no spike is written";
  EXPECT_NE(replaced.at("rows").at(1).at("nll"), half);
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

TEST_F(Quantize, ComputesInWholeNumbersWhatItSimulates) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const std::vector<std::string> real = {"--bits-weight", "8", "--real"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), real.begin(), real.end());
    return quantize(more);
  };
  expect_failure(quantize({"--method", "insertquant", "--real"}), 2, "--bits-weight 8");
  expect_failure(with({}), 2, "--method NAME");
  expect_failure(with({"--method", "insertquant", "--group", "8"}), 2, "--group channel");
  expect_failure(with({"--method", "insertquant", "--exact-templates"}), 2, "templates are rounded");
  expect_failure(with({"--method", "insertquant-absmax", "--bits-activation", "12"}), 2, "12 bits");
  if (int8_kernels().empty()) GTEST_SKIP() << "this LibTorch has no kernels for products of 8 bits";
  expect_failure(
      run_program({"quantize", "--model", path("model"), "--templates", path("t.safetensors"), "--text", path("text"),
                   "--windows", "2", "--length", "32", "--method", "naive", "--bits-weight", "8", "--real"},
                  "", "SPIKESCOPE_INT8=abacus"),
      1, "abacus");
  // Sums of 7 bits are right on every processor.
  const ProgramResult result =
      with({"--method", "insertquant-absmax", "--method", "dynamic", "--bits-activation", "7", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json rows = parse_json(result.out, "standard output").at("rows");
  ASSERT_EQ(rows.size(), 5u);
  for (const size_t simulated : {1, 3}) {
    const Json &row = rows.at(simulated), &computed = rows.at(simulated + 1);
    EXPECT_EQ(computed.at("method"), row.at("method").get<std::string>() + " (int8)");
    EXPECT_THAT(computed.at("int8").get<std::string>(), HasSubstr("LibTorch"));
    EXPECT_FALSE(row.contains("int8"));
    EXPECT_NEAR(computed.at("nll").get<double>(), row.at("nll").get<double>(), 0.01);
    EXPECT_NE(computed.at("nll"), rows.at(0).at("nll"));
    EXPECT_GT(computed.at("tokens_per_second").get<double>(), 0.0);
  }
  EXPECT_THAT(with({"--method", "dynamic", "--bits-activation", "7"}).out,
              AllOf(HasSubstr("dynamic (int8)"), HasSubstr("tokens/s")));
}

TEST_F(Quantize, ScalesOfInputsTravelInTheCheckpoint) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const ProgramResult saved =
      quantize({"--bits-weight", "8", "--group", "channel", "--method", "insertquant", "--save", path("w8a8")});
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_THAT(saved.err, HasSubstr("put no templates"));
  const ProgramResult inspected = run_program({"inspect", path("w8a8"), "--no-estimate", "--json"});
  ASSERT_EQ(inspected.exit_code, 0) << inspected.err;
  const Json found = parse_json(inspected.out, "inspect").at("quantization");
  EXPECT_EQ(found.at("format"), "int-quantized");
  const Json inputs = found.at("groups").at(0).at("inputs");
  EXPECT_EQ(inputs.at("bits"), 8);
  EXPECT_EQ(inputs.at("strategy"), "tensor");
  EXPECT_EQ(inputs.at("dynamic"), false);
  EXPECT_EQ(found.at("input_scales").size(), 28u);
  EXPECT_GT(found.at("input_scales").at("model.layers.0.mlp.down_proj").at("scale").get<double>(), 0.0);

  // Weights of fewer bits stay packed, and others cannot use scales beside them.
  ASSERT_EQ(quantize({"--bits-weight", "4", "--group", "8", "--method", "insertquant", "--save", path("w4")}).exit_code,
            0);
  const Json packed =
      parse_json(run_program({"inspect", path("w4"), "--no-estimate", "--json"}).out, "inspect").at("quantization");
  EXPECT_EQ(packed.at("format"), "pack-quantized");
  EXPECT_TRUE(packed.at("input_scales").empty());
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

TEST_F(Quantize, LeavesATableAPageAndWhatTheReportShows) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  ASSERT_EQ(run_program({"run", "--model", path("model"), "--out", path("run"), "--prompt", "ABCDEFGHIJKLMNOP",
                         "--prompt", "AQRSTUVWXYZ"})
                .exit_code,
            0);
  const ProgramResult result = quantize(
      {"--compare", "--bits-activation", "8", "4", "--bits-weight", "4", "--group", "8", "--out", path("run")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("insertquant"), HasSubstr("page: ")));
  const Json json = read_json_file(folder_ / "run/results/quantize.json");
  EXPECT_EQ(json.at("analysis"), "quantize");
  EXPECT_EQ(json.at("windows"), 12);
  EXPECT_EQ(json.at("tokens"), 12 * 32);
  EXPECT_EQ(json.at("ids_sha256").get<std::string>().size(), 64u);
  const Json& rows = json.at("rows");
  // fp takes 4 bytes a weight; 4 bits with a float32 scale for each 8 are 1 byte; 4 x 7 matrices say their shape in 16.
  EXPECT_EQ(rows.at(0).at("matrix_bytes"), 4 * (rows.back().at("matrix_bytes").get<int64_t>() - 28 * 16));
  EXPECT_EQ(rows.at(0).at("matrix_bytes"), rows.at(1).at("matrix_bytes"));
  EXPECT_EQ(rows.at(0).at("bytes").get<int64_t>() - rows.at(0).at("matrix_bytes").get<int64_t>(),
            rows.back().at("bytes").get<int64_t>() - rows.back().at("matrix_bytes").get<int64_t>());
  const H5File arrays = H5File::open(folder_ / "run/results/quantize.h5");
  EXPECT_THAT(arrays.shape("/nll"), ::testing::ElementsAre(static_cast<int64_t>(rows.size()), 12));

  const std::string page = read_file(folder_ / "run/quantize/index.html");
  for (const char* part : {"model, quantized", "Perplexity as it is", "Least loss at A8 W4", "rotation-insertquant",
                           "Rise of the loss by method and bits", "--compare"})
    EXPECT_THAT(page, HasSubstr(part));
  for (const char* file : {"figures/quantize-perplexity.svg", "figures/quantize-loss.pdf",
                           "figures/quantize-largest.png", "quantize.csv", "quantize.md"})
    EXPECT_TRUE(fs::exists(folder_ / "run/quantize" / file)) << file;
  EXPECT_THAT(read_file(folder_ / "run/quantize/quantize.csv"), HasSubstr("\r\ninsertquant,8,,"));
  EXPECT_THAT(read_file(folder_ / "run/quantize/quantize.md"), HasSubstr("| insertquant | 8 | – |"));

  ASSERT_EQ(run_program({"report", path("run"), "--still"}).exit_code, 0);
  std::string report = read_file(folder_ / "run/report/index.html");
  EXPECT_THAT(report, AllOf(HasSubstr("Quantization"), HasSubstr("Perplexity by method and bits")));
  const ProgramResult notebook = run_program({"notebook", path("run")});
  EXPECT_THAT(notebook.err, Not(HasSubstr("no cell draws")));

  // A table of another model is not shown as if it were of this one.
  testing::write_planted_model(folder_ / "model", 0.5f);
  ASSERT_EQ(run_program({"quantize", "--model", path("model"), "--bits-weight", "8", "--group", "8", "--text",
                         path("text"), "--windows", "2", "--length", "32", "--out", path("run")})
                .exit_code,
            0);
  ASSERT_EQ(run_program({"report", path("run"), "--still"}).exit_code, 0);
  report = read_file(folder_ / "run/report/index.html");
  EXPECT_THAT(report, AllOf(HasSubstr("other weights"), Not(HasSubstr("Perplexity by method and bits"))));
}

TEST_F(Quantize, AsksQuestionsOfEveryRow) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  fs::create_directories(folder_ / "tasks");
  const std::string question = R"({"question": "ABC", "choices": ["yes it is", "no", "MNO"], "label": 2})";
  testing::write_text(folder_ / "tasks/piqa.jsonl", question + "\n" + question + "\n");
  testing::write_text(folder_ / "tasks/openbookqa.jsonl", question + "\n");
  const ProgramResult result =
      quantize({"--method", "naive", "--method", "insertquant", "--tasks", path("tasks"), "--rows", "1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no arc_easy.jsonl in"));
  const Json rows = parse_json(result.out, "standard output").at("rows");
  ASSERT_EQ(rows.size(), 3u);
  for (const Json& row : rows) {
    const Json& answers = row.at("zero_shot");
    ASSERT_EQ(answers.at("tasks").size(), 2u);
    EXPECT_EQ(answers.at("tasks").at("piqa").at("rows"), 1);
    EXPECT_DOUBLE_EQ(answers.at("average"), (answers.at("tasks").at("piqa").at("acc").get<double>() +
                                             answers.at("tasks").at("openbookqa").at("acc").get<double>()) /
                                                2);
  }
  // The first row answers as the model does by itself.
  const ProgramResult alone =
      run_program({"evaluate", "--model", path("model"), "--tasks", path("tasks"), "--rows", "1", "--json"});
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  const Json evaluated = parse_json(alone.out, "standard output");
  EXPECT_EQ(evaluated.at("mean_acc"), rows.at(0).at("zero_shot").at("average"));
  EXPECT_EQ(evaluated.at("tasks").at("piqa").at("acc_norm"),
            rows.at(0).at("zero_shot").at("tasks").at("piqa").at("acc_norm"));

  const ProgramResult people = quantize({"--method", "naive", "--tasks", path("tasks"), "--task", "piqa"});
  EXPECT_THAT(people.out, HasSubstr("answers (se)"));
  expect_failure(quantize({"--method", "naive", "--task", "piqa"}), 2, "--tasks DIR, which is missing");
  expect_failure(quantize({"--method", "naive", "--tasks", path("nothing")}), 1, "no file of a task");
}

TEST_F(Quantize, WritesTheTableAsTheFilesNameSays) {
  ASSERT_EQ(calibrate("t.safetensors").exit_code, 0);
  const auto to = [&](const char* name) { return quantize({"--method", "naive", "--out", path(name)}); };
  for (const char* name : {"table.json", "table.csv", "table.md"}) EXPECT_EQ(to(name).exit_code, 0) << name;
  EXPECT_EQ(read_json_file(folder_ / "table.json").at("rows").size(), 2u);
  EXPECT_THAT(read_file(folder_ / "table.csv"), HasSubstr("\r\nnaive,8,,"));
  EXPECT_THAT(read_file(folder_ / "table.md"), HasSubstr("| naive | 8 | – |"));
  expect_failure(to("text"), 2, "name a folder, or a file .json, .csv or .md");
  expect_failure(run_program({"quantize", "--model", path("model"), "--bits-weight", "4", "--group", "8", "--save",
                              path("saved"), "--out", path("table")}),
                 2, "no table without --text");
  EXPECT_FALSE(fs::exists(folder_ / "saved"));
  expect_failure(run_program({"quantize", "--model", path("model"), "--bits-weight", "4", "--group", "8", "--text",
                              path("text"), "--length", "513"}),
                 2, "the model's context is 512");
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
