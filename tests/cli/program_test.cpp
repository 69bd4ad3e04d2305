// Every command through the real program: exit codes, files, messages.

#include "program.h"

#include <gmock/gmock.h>

#include <cmath>
#include <sstream>

#include "capture/dump.h"
#include "disk_limits.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "io/output_file.h"
#include "io/safetensors.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_program;
using testing::TemporaryFolder;

class Program : public ::testing::Test {
 protected:
  void SetUp() override { testing::write_tiny_model(folder_ / "tiny"); }
  std::string model() const { return (folder_ / "tiny").string(); }
  std::string out(const std::string& name = "out") const { return (folder_ / name).string(); }
  TemporaryFolder folder_;
};

TEST_F(Program, HelpTeaches) {
  const auto result = run_program({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* command : {"run", "capture", "analyze", "intervene", "report", "compare", "survey", "inspect",
                              "families", "tokenize", "models", "selftest"}) {
    EXPECT_THAT(result.out, HasSubstr(command));
    const auto help = run_program({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, HasSubstr("Examples:")) << command;
  }
  EXPECT_THAT(run_program({"--version"}).out, HasSubstr("spikescope 0."));
}

TEST_F(Program, WrongUsageIsExitCodeTwo) {
  EXPECT_EQ(run_program({}).exit_code, 2);
  expect_failure(run_program({"frobnicate"}), 2, "there is no command 'frobnicate'");
  expect_failure(run_program({"capure"}), 2, "did you mean 'capture'?");
  expect_failure(run_program({"capture", "--model", model()}), 2, "--out");
  expect_failure(run_program({"capture", "--model", model(), "--out", out(), "--gzip", "12"}), 2, "--gzip");
  expect_failure(run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "b"}), 2, "b");
  expect_failure(
      run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "--points", "blocks.0.resid_pots"}),
      2, "did you mean 'blocks.0.resid_post'");
  expect_failure(
      run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "--points", "blocks.3.resid_post"}),
      2, "the model has 3 layers");
  expect_failure(run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "--points",
                              "blocks.0.attn.q_normed"}),
                 2, "the llama family has no such hook point");
  expect_failure(run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "--points", "nothing.*"}),
                 2, "matches no hook point");
  expect_failure(run_program({"capture", "--model", model(), "--out", out(), "--prompt", "a", "--bos", "always"}), 2,
                 "BOS");
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(Program, CaptureWritesADumpThatReadsBack) {
  const auto result = run_program({"capture", "--model", model(), "--out", out(), "--prompt", "ab c", "--prompt",
                                   "xyz.", "--points", "*", "--sinks", "--writers", "--losses", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "standard output");
  EXPECT_EQ(json.at("tokens"), 8);
  EXPECT_EQ(json.at("prompts"), 2);
  EXPECT_GT(json.at("tokens_per_second"), 0.0);
  EXPECT_GT(json.at("peak_rss_mib"), 0);
  EXPECT_TRUE(json.contains("mean_loss"));
  const DumpReader dump(out());
  EXPECT_EQ(dump.tokens().size(), 8);
  EXPECT_EQ(dump.tokens().strings[2], "Ġ");
  EXPECT_EQ(dump.n_layers(), 3);
  EXPECT_TRUE(dump.has_sinks());
  EXPECT_TRUE(dump.has_writers());
  EXPECT_EQ(dump.info().family, "llama");
  EXPECT_EQ(dump.info().bos, "none");
  EXPECT_THAT(dump.info().command, AllOf(HasSubstr("spikescope capture"), HasSubstr("'ab c'")));
  EXPECT_EQ(dump.info().model_sha256.size(), 64u);
  // Writer rows explain the residual stream: r + attention + mlp = next r.
  for (int block = 0; block < 3; ++block) {
    const WriterRows writers = dump.writers(block);
    ASSERT_GE(writers.tokens.size(), 2u);
    const auto before = dump.residual(block, 0), after = dump.residual(block + 1, 0);
    for (int64_t i = 0; i < 16; ++i) EXPECT_NEAR(before[i] + writers.attention[i] + writers.mlp[i], after[i], 1e-5);
  }
}

TEST_F(Program, PromptSources) {
  testing::write_text(folder_ / "lines.txt", "abc\r\n\nde\n");
  testing::write_text(folder_ / "lines.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"d\"}\n");
  testing::write_text(folder_ / "ids.json", "[[1, 2, 3], [4]]");
  testing::write_text(folder_ / "corpus.txt", std::string(100, 'q'));
  const auto lengths = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"capture", "--model", model(), "--out", out()});
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<int64_t> all;
    const DumpReader dump(out());
    for (int64_t p = 0; p < dump.tokens().n_prompts(); ++p) all.push_back(dump.tokens().length(p));
    return all;
  };
  EXPECT_EQ(lengths({"--prompts", out("lines.txt")}), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(lengths({"--prompts", out("lines.jsonl")}), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(lengths({"--ids", out("ids.json")}), (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(lengths({"--text", out("corpus.txt"), "--windows", "3", "--length", "30"}),
            (std::vector<int64_t>{30, 30, 30}));
  EXPECT_EQ(lengths({"--prompt", "ab", "--ids", out("ids.json")}), (std::vector<int64_t>{2, 3, 1}));
}

TEST_F(Program, BadPromptsAreNamed) {
  const auto capture = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"capture", "--quiet", "--model", model(), "--out", out()});
    return run_program(arguments);
  };
  testing::write_text(folder_ / "empty.txt", "\n\n");
  testing::write_text(folder_ / "broken.jsonl", "{\"text\": \"ok\"}\n{\"text\": \n");
  testing::write_text(folder_ / "field.jsonl", "{\"prompt\": \"ok\"}\n");
  testing::write_text(folder_ / "latin1.txt", "caf\xe9\n");
  testing::write_text(folder_ / "ids.json", "[[1, \"a\"]]");
  testing::write_text(folder_ / "ids_empty.json", "[[]]");
  testing::write_text(folder_ / "ids_large.json", "[[1, 64]]");
  testing::write_text(folder_ / "short.txt", "abc");
  expect_failure(capture({"--prompt", ""}), 1, "the prompt is empty");
  expect_failure(capture({"--prompt", "a\xff"}), 1, "byte 1");
  expect_failure(capture({"--prompts", out("missing.txt")}), 1, "missing.txt");
  expect_failure(capture({"--prompts", out("empty.txt")}), 1, "no prompt in this file");
  expect_failure(capture({"--prompts", out("broken.jsonl")}), 1, "broken.jsonl, line 2");
  expect_failure(capture({"--prompts", out("field.jsonl")}), 1, "\"text\"");
  expect_failure(capture({"--prompts", out("latin1.txt")}), 1, "latin1.txt, line 1");
  expect_failure(capture({"--ids", out("ids.json")}), 1, "prompt 0 holds a string");
  expect_failure(capture({"--ids", out("ids_empty.json")}), 1, "prompt 0 is not an array of token ids, or is empty");
  expect_failure(capture({"--ids", out("ids_large.json")}), 1, "id 64 is outside the vocabulary of 64");
  expect_failure(capture({"--text", out("short.txt"), "--windows", "2", "--length", "10"}), 1,
                 "3 tokens make 0 windows");
  expect_failure(capture({"--prompt", std::string(600, 'a')}), 1, "600 tokens, but the model's context is 512");
  EXPECT_FALSE(fs::exists(out("out/dump")));
}

TEST_F(Program, BadModelsAreNamed) {
  const auto inspect = [&](const std::string& path) { return run_program({"inspect", path}); };
  expect_failure(inspect("org/name"), 1, "does not download from a hub");
  expect_failure(inspect(out("missing.gguf")), 1, "no such file");
  testing::write_text(folder_ / "bad.gguf", "NOPE");
  expect_failure(inspect(out("bad.gguf")), 1, "bad.gguf");
  testing::write_text(folder_ / "empty.gguf", "");
  expect_failure(inspect(out("empty.gguf")), 1, "empty.gguf");
  testing::write_text(folder_ / "tiny/config.json", "{\"model_type\": ");
  expect_failure(inspect(model()), 1, "config.json");
}

TEST_F(Program, ModelNotFetchedSaysHowTo) {
  expect_failure(run_program({"inspect", "smollm2-135m"}, "", "XDG_CACHE_HOME=" + folder_.path().string()), 1,
                 "spikescope models fetch smollm2-135m");
}

TEST_F(Program, AFailingRunLeavesTheOldDumpAsItWas) {
  ASSERT_EQ(run_program({"capture", "--model", model(), "--out", out(), "--prompt", "abc"}).exit_code, 0);
  const auto before = DumpReader(out()).residual(3, 0);
  // The last block's weights are damaged: the failure comes after two layers were written.
  auto tensors = testing::tiny_tensors();
  for (auto& tensor : tensors)
    if (tensor.name == "model.layers.2.mlp.down_proj.weight") tensor.values[7] = NAN;
  testing::write_tensors(folder_ / "tiny/model.safetensors", tensors);
  expect_failure(run_program({"capture", "--quiet", "--model", model(), "--out", out(), "--prompt", "abcd"}), 1,
                 "holds nan at [0, 7]");
  EXPECT_EQ(DumpReader(out()).residual(3, 0), before);
}

TEST_F(Program, AnUnwritableFolderIsRefusedBeforeComputing) {
  testing::write_text(folder_ / "file", "in the way");
  const auto result =
      run_program({"capture", "--quiet", "--model", model(), "--out", out("file/below"), "--prompt", "abc"});
  expect_failure(result, 1, "file");
}

TEST_F(Program, AFullDiskIsNamedAndLeavesTheOldDump) {
  fs::create_directory(folder_ / "disk");
  const testing::TinyDisk disk(folder_ / "disk", 256 << 10);
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small disk takes the rights of root";
  const auto capture = [&](int64_t tokens, std::vector<std::string> more) {
    testing::write_text(folder_ / "ids.json",
                        Json(std::vector<std::vector<int64_t>>{std::vector<int64_t>(tokens, 7)}).dump());
    std::vector<std::string> arguments = {"capture", "--quiet",       "--model", model(),
                                          "--out",   out("disk/run"), "--ids",   out("ids.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    // HDF5 leaks some names when a write fails (hdf5_leaks.h), which is no error of the program's.
    return run_program(arguments, "", "ASAN_OPTIONS=detect_leaks=0");
  };
  ASSERT_EQ(capture(8, {}).exit_code, 0);
  const std::string before = read_file(folder_ / "disk/run/dump/index.h5");
  expect_failure(capture(500, {"--points", "*"}), 1, "but the disk has");  // seen before computing
  expect_failure(capture(500, {"--points", "*", "--gzip", "1"}), 1,
                 "No space left");  // no estimate: found while writing
  EXPECT_EQ(read_file(folder_ / "disk/run/dump/index.h5"), before);
  EXPECT_FALSE(fs::exists(folder_ / "disk/run/dump.partial"));
  EXPECT_EQ(DumpReader(out("disk/run")).tokens().size(), 8);
}

TEST_F(Program, InspectShowsTheCheckpoint) {
  const auto result = run_program({"inspect", model(), "--tensors", "--points"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* text : {"llama", "4 heads of 4, 2 KV heads", "model.layers.2.mlp.down_proj.weight",
                           "blocks.l.attn.rot_q", "3, width 16"})
    EXPECT_THAT(result.out, HasSubstr(text));
  const Json json = parse_json(run_program({"inspect", "--json", model()}).out, "inspect");
  EXPECT_EQ(json.at("architecture").at("n_layers"), 3);
  EXPECT_EQ(json.at("formats").at("F32").at("tensors"), 30);
  const Json estimate = json.at("capture_estimate");
  EXPECT_EQ(estimate.at("windows"), 4);
  EXPECT_EQ(estimate.at("length"), 512);
  EXPECT_EQ(estimate.at("dump_bytes"), 2048 * 16 * 3 * 4);
  EXPECT_GT(estimate.at("seconds"), 0.0);
  EXPECT_GT(estimate.at("peak_bytes"), 0);
  EXPECT_FALSE(parse_json(run_program({"inspect", "--json", "--no-estimate", model()}).out, "inspect")
                   .contains("capture_estimate"));
  expect_failure(run_program({"inspect", "--windows", "0", model()}), 2, "--windows");
  auto tensors = testing::tiny_tensors();
  tensors[2].values[5] = std::numeric_limits<float>::infinity();
  testing::write_tensors(folder_ / "tiny/model.safetensors", tensors);
  const auto broken = run_program({"inspect", model()});
  EXPECT_EQ(broken.exit_code, 0);
  EXPECT_THAT(broken.err, AllOf(HasSubstr("no estimate"), HasSubstr(tensors[2].name)));
}

TEST_F(Program, TokenizeBothWays) {
  auto result = run_program({"tokenize", "--model", model(), "ab c"});
  EXPECT_EQ(result.out, "{\"ids\":[33,34,62,35],\"tokens\":[\"a\",\"b\",\"Ġ\",\"c\"]}\n") << result.err;
  EXPECT_EQ(run_program({"tokenize", "--model", model()}, "ab c").out, result.out)
      << "standard input is the text, whole";
  testing::write_text(folder_ / "texts.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\"}\n{\"text\": \"bc\"}\n");
  result = run_program({"tokenize", "--model", model(), "--jsonl", out("texts.jsonl")});
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 3) << "a line out for each line in";
  result = run_program({"tokenize", "--model", model(), "--decode"}, "{\"ids\": [33, 62, 34]}\n");
  EXPECT_EQ(result.out, "{\"text\":\"a b\"}\n");
  result = run_program({"tokenize", "--model", model(), "--decode"}, "{\"ids\": [99]}\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("line 1"), HasSubstr("99")));
  fs::create_directory(folder_ / "only");
  fs::copy(folder_ / "tiny/tokenizer.json", folder_ / "only/tokenizer.json");
  EXPECT_EQ(run_program({"tokenize", "--model", out("only"), "a"}).out, "{\"ids\":[33],\"tokens\":[\"a\"]}\n");
}

TEST_F(Program, TokenizeHasNoChatTemplates) {
  for (const std::string& name : {model(), out("missing")}) {
    expect_failure(run_program({"tokenize", "--model", name, "--chat", "Hello"}), 2,
                   "chat templates are not supported");
  }
}

TEST_F(Program, RunThenAnalyzeThenReport) {
  const auto run = run_program(
      {"run", "--model", model(), "--out", out(), "--prompt", "abcdefghijklmnopqrstuvw", "--prompt", "hello.there"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("index.html"));
  for (const char* file :
       {"dump/index.h5", "results/spikes.json", "results/spikes.h5", "results/sinks.json", "report/index.html"})
    EXPECT_TRUE(fs::exists(out() + "/" + file)) << file;
  const Json before = read_json_file(out() + "/results/spikes.json");
  EXPECT_EQ(before.at("analysis"), "spikes");
  EXPECT_EQ(before.at("windows"), 2);
  EXPECT_EQ(before.at("layers").size(), 4u);
  fs::remove(out() + "/results/spikes.json");
  EXPECT_EQ(run_program({"analyze", out(), "--only", "spikes"}).exit_code, 0);
  Json after = read_json_file(out() + "/results/spikes.json");
  EXPECT_EQ(after.at("layers"), before.at("layers"));
  EXPECT_EQ(run_program({"report", out()}).exit_code, 0);
  EXPECT_EQ(run_program({"analyze", out(), "--only", "null_space", "--spectrum-layers", "1-2"}).exit_code, 0);
  EXPECT_EQ(read_json_file(out() + "/results/null_space.json")["stacked_layers"]["W_V"], Json({1, 2}));
  expect_failure(run_program({"analyze", out(), "--spectrum-layers", "1-"}), 2, "'1-' is no block");
  expect_failure(run_program({"analyze", out(), "--spectrum-layers", "3"}), 2, "the model has blocks 0 to 2");
  expect_failure(run_program({"analyze", out(), "--only", "spike"}), 2, "did you mean 'spikes'");
  expect_failure(run_program({"analyze", out("nowhere")}), 1, "nowhere");
  expect_failure(run_program({"report", out("nowhere")}), 1, "nowhere");
}

TEST_F(Program, AnalyzeRefusesAnotherCheckpoint) {
  ASSERT_EQ(run_program({"run", "--model", model(), "--out", out(), "--prompt", "abcdefghijklmnopqrstuvw"}).exit_code,
            0);
  auto tensors = testing::tiny_tensors();
  tensors[0].values[0] += 1.0f;
  testing::write_tensors(folder_ / "tiny/model.safetensors", tensors);
  expect_failure(run_program({"analyze", "--quiet", out()}), 1, "not the checkpoint of the dump");
  fs::remove_all(folder_ / "tiny");
  const auto without = run_program({"analyze", out()});
  EXPECT_EQ(without.exit_code, 0) << without.err;
  EXPECT_THAT(without.err, HasSubstr("is gone"));
}

/// A second or two into a run of several: the program ends as the signal asks, and goes on with --resume.
TEST_F(Program, InterruptedAndKilledRunsAreResumed) {
  SKIP_WITHOUT_SMOLLM2();
#ifdef __SANITIZE_ADDRESS__
  constexpr int64_t kWindows = 1;  // its builds are some ten times slower
#else
  constexpr int64_t kWindows = 6;
#endif
  Json windows = Json::array();
  for (int64_t window = 0; window < kWindows; ++window)
    for (int64_t i = 0; i < 512; ++i) windows[window].push_back((window * 512 + i) * 7919 % 49000);
  testing::write_text(out("ids.json"), windows.dump());
  const auto capture = [&](const std::string& name, const std::string& before, bool resume) {
    std::vector<std::string> arguments = {"capture",       "--model", testing::smollm2_file().string(),
                                          "--out",         out(name), "--ids",
                                          out("ids.json"), "--sinks", "--losses"};
    if (resume) arguments.push_back("--resume");
    return run_program(arguments, "", before);
  };
  ASSERT_EQ(capture("whole", "", false).exit_code, 0);
  const auto interrupted = capture("out", "timeout -s INT 2.2", false);
  EXPECT_NE(interrupted.exit_code, 0);
  EXPECT_THAT(interrupted.err, HasSubstr("go on with the same command and --resume"));
  EXPECT_FALSE(std::filesystem::exists(out("out") + "/dump"));
  capture("out", "timeout -s KILL 1", true);
  const auto resumed = capture("out", "", true);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("resumed from layer"));
  const DumpReader whole(out("whole")), taken_up(out("out"));
  for (const int layer : {0, 5, 11, 15, 20, 29}) {
    const HookPoint point{Point::resid_post, layer};
    EXPECT_EQ(whole.read(point, 0, kWindows * 512), taken_up.read(point, 0, kWindows * 512)) << layer;
    EXPECT_EQ(whole.sinks(layer).column_sums, taken_up.sinks(layer).column_sums) << layer;
    EXPECT_EQ(whole.sinks(layer).tokens, taken_up.sinks(layer).tokens) << layer;
  }
  const std::vector<float> a = whole.losses(), b = taken_up.losses();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) << i;
}

TEST_F(Program, ProfileSaysWhereTheTimeWent) {
  const auto result = run_program({"capture", "--profile", "--model", model(), "--out", out(), "--prompt", "abc"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* part : {"part", "qkv", "attention", "mlp down", "write", "whole run"})
    EXPECT_THAT(result.err, HasSubstr(part));
  EXPECT_GT(read_json_file(out() + "/profile.json")["traceEvents"].size(), 20u);
}

TEST_F(Program, Bfloat16IsRecordedAndCloseToFloat32) {
  const auto dump = [&](const std::string& dtype) {
    const auto result = run_program({"capture", "--json", "--dtype", dtype, "--model", model(), "--out", out(dtype),
                                     "--prompt", "abcdefgh ijkl", "--sinks"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(parse_json(result.out, "capture")["dtype"], dtype == "bf16" ? "bfloat16" : "float32");
    const DumpReader reader(out(dtype));
    EXPECT_EQ(reader.info().dtype, dtype == "bf16" ? "bfloat16" : "float32");
    return reader.read({Point::resid_post, 2}, 0, 13);
  };
  const std::vector<float> exact = dump("float32"), rounded = dump("bf16");
  ASSERT_EQ(exact.size(), rounded.size());
  EXPECT_NE(exact, rounded);
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference += std::pow(static_cast<double>(rounded[i]) - exact[i], 2.0);
    size += std::pow(static_cast<double>(exact[i]), 2.0);
  }
  EXPECT_LT(std::sqrt(difference / size), 0.01);
  expect_failure(run_program({"capture", "--dtype", "fp8", "--model", model(), "--out", out(), "--prompt", "a"}), 2,
                 "--dtype");
}

TEST_F(Program, SelftestChecksEveryKernel) {
  const auto result = run_program({"selftest", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = parse_json(result.out, "selftest");
  EXPECT_EQ(json["sound"], true);
  ASSERT_GE(json["products"].size(), 2u);
  for (const Json& row : json["products"]) {
    EXPECT_GT(row["error"].get<double>(), 0.0) << row.dump();
    EXPECT_LT(row["error"].get<double>(), 1.0) << row.dump();
    EXPECT_GT(row["gflops"].get<double>(), 0.0) << row.dump();
  }
  // Of whole numbers; which kernels there are is LibTorch's business.
  for (const Json& row : json["int8"]) {
    EXPECT_THAT(row["computed_by"].get<std::string>(), HasSubstr(row["kernel"].get<std::string>()));
    EXPECT_LE(row["error_7_bits"].get<double>(), 1.0) << row.dump();
    EXPECT_GT(row["gflops"].get<double>(), 0.0) << row.dump();
  }
  EXPECT_THAT(run_program({"selftest"}).out, AllOf(HasSubstr("bfloat16"), HasSubstr("all products are right")));
}

TEST_F(Program, AnUnknownKernelIsRefused) {
  expect_failure(
      run_program({"capture", "--model", model(), "--out", out(), "--prompt", "abc"}, "", "SPIKESCOPE_KERNEL=gpu"), 1,
      "SPIKESCOPE_KERNEL=gpu: for float32 this machine has");
}

TEST_F(Program, SameInputSameBytesOnAnyNumberOfThreads) {
  const auto dump = [&](const std::string& threads) {
    const std::string name = "threads-" + threads;
    EXPECT_EQ(run_program({"capture", "--threads", threads, "--model", model(), "--out", out(name), "--prompt",
                           "abcdefgh ijkl", "--sinks", "--points", "*"})
                  .exit_code,
              0);
    std::stringstream all;
    const DumpReader reader(out(name));
    for (int layer = 0; layer < 3; ++layer) {
      for (const float value : reader.read({Point::resid_post, layer}, 0, 13)) all << std::hexfloat << value << ' ';
      for (const float value : reader.sinks(layer).column_sums) all << std::hexfloat << value << ' ';
    }
    return all.str();
  };
  const std::string one = dump("1");
  EXPECT_EQ(one, dump("2"));
  EXPECT_EQ(one, dump("3"));
  EXPECT_EQ(one, dump("1"));
}

TEST_F(Program, ImagesGoThroughAVisionTransformer) {
  const std::string vision = (testing::kept_models() / "dinov2_with_registers_interp").string();
  const std::string pixels = testing::pixels_of("dinov2_with_registers_interp", folder_).string();
  const auto result = run_program({"run", "--model", vision, "--pixels", pixels, "--out", out(), "--points", "logits"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(fs::exists(folder_ / "out/report/index.html"));
  const DumpReader dump(folder_ / "out");
  EXPECT_EQ(dump.tokens().size(), 1 + 3 + 9) << "[CLS], registers, 3 x 3 patches";
  EXPECT_EQ(dump.tokens().strings[1], "[REG 0]");
  EXPECT_EQ(dump.tokens().strings.back(), "patch 2,2");
  EXPECT_EQ(dump.read({Point::class_logits}, 0, 1).size(), 10u);

  expect_failure(run_program({"run", "--model", vision, "--out", out("b")}), 2, "read images: give them --pixels");
  expect_failure(run_program({"run", "--model", vision, "--pixels", pixels, "--prompt", "a", "--out", out("b")}), 2,
                 "and no text");
  expect_failure(run_program({"run", "--model", model(), "--pixels", pixels, "--out", out("b")}), 2, "read text");
  expect_failure(run_program({"run", "--model", vision, "--pixels", vision + "/model.safetensors", "--out", out("b")}),
                 1, "pixel_values");
  const std::vector<float> flat(3 * 8 * 4, 0.5f), few(3 * 4 * 4, 0.5f);
  write_safetensors(folder_ / "flat.safetensors", {{"pixel_values", {3, 8, 4}, "F32", std::as_bytes(std::span(flat))}});
  write_safetensors(folder_ / "few.safetensors", {{"pixel_values", {3, 4, 4}, "F32", std::as_bytes(std::span(few))}});
  expect_failure(
      run_program({"run", "--model", vision, "--pixels", (folder_ / "flat.safetensors").string(), "--out", out("b")}),
      1, "has the shape [3, 8, 4]");
  expect_failure(
      run_program({"run", "--model", vision, "--pixels", (folder_ / "few.safetensors").string(), "--out", out("b")}), 1,
      "at least a patch of 8 x 8 pixels");
  EXPECT_FALSE(fs::exists(folder_ / "b" / "dump"));
}

TEST_F(Program, TwoTowersGiveTwoDumpsUnderOneIndex) {
  const std::string clip = (testing::kept_models() / "clip").string(),
                    pixels = testing::pixels_of("clip", folder_).string();
  testing::write_text(folder_ / "ids.json", "[[1, 5, 9, 287], [1, 7, 287]]");
  const std::string ids = (folder_ / "ids.json").string();
  const auto result = run_program({"run", "--model", clip, "--pixels", pixels, "--ids", ids, "--out", out(), "--points",
                                   "vision.blocks.1.attn.z", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = Json::parse(result.out);
  for (const char* tower : {"text", "vision"}) {
    EXPECT_TRUE(fs::exists(folder_ / "out" / tower / "report/index.html"));
    EXPECT_EQ(json.at(tower).at("report"), (folder_ / "out" / tower / "report/index.html").string());
  }
  EXPECT_TRUE(DumpReader(folder_ / "out/vision").has({Point::z, 1}));
  EXPECT_FALSE(DumpReader(folder_ / "out/text").has({Point::z, 1}));
  const H5File index = H5File::open(folder_ / "out/dump/index.h5");
  EXPECT_EQ(index.string_attribute("/", "towers"), "text vision");
  EXPECT_EQ(index.shape("/logits_per_image"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(index.shape("/text_embeds"), (std::vector<int64_t>{2, 24}));
  expect_failure(run_program({"analyze", out()}), 1, "two towers as one; work on one of them");
  // A notebook is of one tower: of both together it says which to name.
  for (const char* tower : {"text", "vision"}) {
    const auto notebook = run_program({"notebook", (folder_ / "out" / tower).string()});
    EXPECT_EQ(notebook.exit_code, 0) << notebook.err;
    EXPECT_TRUE(fs::exists(folder_ / "out" / tower / "notebook.ipynb"));
    EXPECT_EQ(notebook.err, "") << "a figure without a cell";
  }
  expect_failure(run_program({"notebook", out()}), 1, "work on one of them, e.g. " + (folder_ / "out/vision").string());
  EXPECT_EQ(run_program({"analyze", out() + "/vision"}).exit_code, 0);

  const auto inspected = run_program({"inspect", clip, "--no-estimate"});
  EXPECT_THAT(inspected.out, AllOf(HasSubstr("clip: text tower"), HasSubstr("clip: vision tower")));
  // One tower alone: only what there is input for.
  EXPECT_EQ(run_program({"capture", "--model", clip, "--pixels", pixels, "--out", out("v")}).exit_code, 0);
  EXPECT_FALSE(fs::exists(folder_ / "v/text"));
  // A dump of something else stays as it is.
  EXPECT_EQ(run_program({"capture", "--model", model(), "--prompt", "A", "--out", out("w")}).exit_code, 0);
  expect_failure(run_program({"capture", "--model", clip, "--ids", ids, "--out", out("w")}), 1, "something else");
  EXPECT_NO_THROW(DumpReader(folder_ / "w"));
}

TEST_F(Program, FamiliesAreListedAsTheDocsHaveThem) {
  const auto table = run_program({"families", "--markdown"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_THAT(read_file(fs::path(SPIKESCOPE_SOURCE_DIR) / "docs/families.md"), HasSubstr(table.out))
      << "spikescope families --markdown has changed: bring docs/families.md up to date";
  EXPECT_THAT(run_program({"families"}).out, AllOf(HasSubstr("gemma3_text"), HasSubstr("DINOv2")));
  EXPECT_GE(Json::parse(run_program({"families", "--json"}).out).size(), 28u);
}

TEST_F(Program, AnotherFamilyCanBeTried) {
  Json config = testing::tiny_config();
  config["model_type"] = "lama";
  testing::write_text(folder_ / "tiny/config.json", config.dump());
  expect_failure(run_program({"inspect", model()}), 1, "The nearest family is llama (--as llama tries it)");
  EXPECT_THAT(run_program({"inspect", model(), "--as", "llama", "--no-estimate"}).out, HasSubstr("llama"));
  EXPECT_EQ(run_program({"run", "--model", model(), "--as", "mistral", "--prompt", "AB", "--out", out()}).exit_code, 0);
  EXPECT_EQ(run_program({"analyze", out()}).exit_code, 0) << "the dump remembers the family";
  expect_failure(run_program({"inspect", model(), "--as", "lama"}), 2, "there is no such family");
}

}  // namespace
}  // namespace spikescope
