// `spikescope notebook` on runs of real models, and the notebooks themselves run by Jupyter.
#include "analyses/run.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>
#include <memory>

#include "../cli/program.h"
#include "capture/capture.h"
#include "capture/images.h"
#include "capture/prompts.h"
#include "families/checkpoint.h"
#include "notebooks-export/notebook.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::expect_failure;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::run_program;
using testing::shell_quoted;
using testing::TemporaryFolder;

// --- Runs ---------------------------------------------------------------------------------------

/// Captures and analyses, all but what is left out.
void make_run(const Checkpoint& checkpoint, const DumpTokens& tokens, const std::string& name, CaptureRequest request,
              const fs::path& out, std::string_view left_out = "") {
  std::vector<const Analysis*> chosen;
  for (const Analysis& analysis : analyses())
    if (analysis.name != left_out) chosen.push_back(&analysis);
  const Needs needs = combined_needs(chosen);
  request.points_if_any = needs.points;
  request.sinks = needs.sinks;
  request.writers = needs.writers;
  DumpInfo info;
  info.model = checkpoint.path().string();
  info.model_name = name;
  capture(checkpoint, tokens, info, request, out, {});
  run_analyses(out, chosen, [&]() -> const ModelWeights& { return checkpoint.weights(); }, {});
}

/// The golden prompt of a model, or its image.
void make_golden_run(const std::string& name, const fs::path& out) {
  const fs::path model = testing::golden_model(name);
  const auto checkpoint = Checkpoint::open(model);
  CaptureRequest request;
  DumpTokens tokens;
  if (checkpoint->architecture().patches) {
    request.pixels = read_pixels(model / "golden.safetensors");
    tokens = image_prompts(checkpoint->architecture().patches, request.pixels, "golden");
  } else {
    const SafetensorsFile golden = read_safetensors(model / "golden.safetensors");
    const TensorInfo& input = golden.tensors.require("input_ids");
    tokens.ids.resize(input.bytes.size() / sizeof(int64_t));
    std::memcpy(tokens.ids.data(), input.bytes.data(), input.bytes.size());
    tokens.offsets = {0, tokens.size()};
    tokens.strings.resize(tokens.ids.size());
    tokens.prompts = {{{"source", "golden"}}};
  }
  make_run(*checkpoint, tokens, name, request, out);
}

size_t figures_of(const fs::path& out) {
  size_t figures = 0;
  for (const AnalysisResult& result : load_results(out)) figures += result.section.figures.size();
  return figures;
}

// --- Jupyter ------------------------------------------------------------------------------------

constexpr const char* kPython = "/usr/bin/python3";

/// Whether Debian's packages of the stage `test` in scripts/packages.txt are there.
bool has_jupyter() {
  static const bool found = std::system((std::string(kPython) + " -c 'import h5py, ipykernel, matplotlib, nbconvert' > "
                                                                "/dev/null 2>&1")
                                            .c_str()) == 0;
  return found;
}

#define SKIP_WITHOUT_JUPYTER()                                                          \
  if (!has_jupyter())                                                                   \
  GTEST_SKIP() << "needs python3-nbconvert, python3-ipykernel, python3-matplotlib and " \
                  "python3-h5py"

/// Runs the notebook as Jupyter does and returns it with its outputs. A cell that fails fails the test.
Json execute(const fs::path& notebook) {
  const TemporaryFolder folder;
  const std::string log = (folder / "log").string();
  const std::string command =
      "cd / && IPYTHONDIR=" + shell_quoted((folder / "ipython").string()) +
      " JUPYTER_RUNTIME_DIR=" + shell_quoted((folder / "runtime").string()) + " " + kPython +
      " -m nbconvert --to notebook --execute --ExecutePreprocessor.kernel_name=python3 --output " +
      shell_quoted((folder / "executed").string()) + " " + shell_quoted(fs::absolute(notebook).string()) + " > " +
      shell_quoted(log) + " 2>&1";
  if (std::system(command.c_str()) != 0) {
    ADD_FAILURE() << read_file(log);
    return {{"cells", Json::array()}};
  }
  return read_json_file(folder / "executed.ipynb");
}

/// Every code cell ran, nothing was complained of, and there are as many pictures as figures.
void expect_drawn(const Json& executed, size_t figures) {
  size_t pictures = 0;
  for (const Json& cell : executed.at("cells")) {
    if (cell.at("cell_type") != "code") continue;
    EXPECT_TRUE(cell.at("execution_count").is_number()) << cell.at("id");
    for (const Json& output : cell.at("outputs")) {
      EXPECT_NE(output.value("output_type", ""), "error") << output.dump(1);
      EXPECT_NE(output.value("name", ""), "stderr") << cell.at("id") << output.dump(1);
      if (output.contains("data") && output["data"].contains("image/png")) ++pictures;
    }
  }
  EXPECT_EQ(pictures, figures);
}

/// What a code cell printed.
std::string printed(const Json& executed) {
  std::string text;
  for (const Json& cell : executed.at("cells"))
    for (const Json& output : cell.value("outputs", Json::array()))
      for (const Json& line : output.value("text", Json::array())) text += line.get<std::string>();
  return text;
}

// --- The command --------------------------------------------------------------------------------

class NotebookProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    // Tokens 33 and 34 are spikes: 400 and 300 in dimension 5 of their embedding.
    testing::write_tiny_model(*folder_ / "spiky");
    auto tensors = testing::tiny_tensors();
    tensors[0].values[33 * 16 + 5] = 400.0f;
    tensors[0].values[34 * 16 + 5] = 300.0f;
    testing::write_tensors(*folder_ / "spiky/model.safetensors", tensors);
    Json windows = Json::array();
    for (int64_t window = 0; window < 3; ++window) {
      windows[window].push_back(window == 2 ? 34 : 33);
      for (int64_t t = 1; t < 30; ++t) windows[window].push_back((7 * t + 3 * window) % 31);
    }
    testing::write_text(*folder_ / "ids.json", windows.dump());
    const auto checkpoint = Checkpoint::open(*folder_ / "spiky");
    PromptRequest prompts;
    prompts.ids_file = *folder_ / "ids.json";
    const Tokenizer tokenizer = checkpoint->tokenizer();
    make_run(*checkpoint, read_prompts(prompts, &tokenizer), "spiky", {}, *folder_ / "run");
    const auto intervened = run_program({"intervene", "--model", path("spiky"), "--out", path("run")});
    ASSERT_EQ(intervened.exit_code, 0) << intervened.err;
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string path(const std::string& name) { return (*folder_ / name).string(); }

  static std::unique_ptr<TemporaryFolder> folder_;
};
std::unique_ptr<TemporaryFolder> NotebookProgram::folder_;

TEST_F(NotebookProgram, DrawsEveryFigureAndRuns) {
  const auto result = run_program({"notebook", path("run"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());
  const Json said = parse_json(result.out, "standard output");
  EXPECT_EQ(said.at("notebook"), path("run/notebook.ipynb"));
  EXPECT_EQ(said.at("undrawn_figures"), Json::array());
  const Json notebook = read_json_file(*folder_ / "run/notebook.ipynb");
  EXPECT_EQ(notebook.at("cells").size(), said.at("cells"));
  EXPECT_THAT(notebook.dump(), AllOf(Not(HasSubstr(folder_->path().string())), HasSubstr("Interventions")));
  fs::remove(*folder_ / "run/notebook.ipynb");

  SKIP_WITHOUT_JUPYTER();
  // From another folder, and that moved with the run.
  ASSERT_EQ(run_program({"notebook", path("run"), "--output", path("a/b/n.ipynb")}).exit_code, 0);
  const Json executed = execute(*folder_ / "a/b/n.ipynb");
  EXPECT_GE(figures_of(*folder_ / "run"), 20u);
  expect_drawn(executed, figures_of(*folder_ / "run"));
  EXPECT_THAT(printed(executed), AllOf(HasSubstr("/blocks/1/resid_post"), HasSubstr("3 prompts of [30 30 30] tokens"),
                                       HasSubstr("in dimension 5"), HasSubstr("zero everywhere")));
}

TEST_F(NotebookProgram, LeavesANotebookThatIsThere) {
  const std::string file = path("mine.ipynb");
  ASSERT_EQ(run_program({"notebook", path("run"), "--output", file, "--only", "sinks"}).exit_code, 0);
  const std::string written = read_file(file);
  EXPECT_THAT(written,
              AllOf(HasSubstr("Path(\\\"run\\\")"), HasSubstr("Attention sinks"), Not(HasSubstr("Rotary positions"))));
  testing::write_text(file, "changed");
  expect_failure(run_program({"notebook", path("run"), "--output", file}), 1, "--force");
  EXPECT_EQ(read_file(file), "changed");
  const auto forced = run_program({"notebook", path("run"), "--output", file, "--only", "sinks", "--force"});
  EXPECT_EQ(forced.exit_code, 0) << forced.err;
  EXPECT_EQ(forced.out, "notebook: " + file + "\n");
  EXPECT_EQ(read_file(file), written) << "the same notebook again";
}

TEST_F(NotebookProgram, SaysWhatIsWrong) {
  expect_failure(run_program({"notebook", path("nowhere")}), 1, "nowhere");
  expect_failure(run_program({"notebook", path("run"), "--only", "sink"}), 2, "did you mean 'sinks'?");
  EXPECT_EQ(run_program({"notebook"}).exit_code, 2);
  fs::create_directories(*folder_ / "bare");
  fs::copy(*folder_ / "run/dump", *folder_ / "bare/dump", fs::copy_options::recursive);
  expect_failure(run_program({"notebook", path("bare")}), 1, "spikescope analyze");
  fs::create_directories(*folder_ / "bare/results");
  for (const char* name : {"spikes.json", "spikes.h5"})
    fs::copy(*folder_ / "run/results" / name, *folder_ / "bare/results" / name);
  expect_failure(run_program({"notebook", path("bare"), "--only", "sinks"}), 1, "no results of sinks");
  expect_failure(run_program({"notebook", path("bare"), "--output", path("ids.json/n.ipynb")}), 1, "ids.json");
  EXPECT_FALSE(fs::exists(*folder_ / "bare/notebook.ipynb"));
  EXPECT_EQ(run_program({"notebook", path("bare")}).exit_code, 0);
}

// --- Models of other kinds ----------------------------------------------------------------------

/// Without rotary positions, without keys (latent attention), an encoder, experts, an image: some analyses do not
/// apply.
class GoldenNotebooks : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenNotebooks, DrawEveryFigureAndRun) {
  const TemporaryFolder folder;
  make_golden_run(GetParam(), folder.path());
  const auto result = run_program({"notebook", folder.path().string(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse_json(result.out, "standard output").at("undrawn_figures"), Json::array());
  const std::string notebook = read_file(folder / "notebook.ipynb");
  for (const AnalysisResult& loaded : load_results(folder.path()))
    if (!loaded.results.at("applicable")) {
      EXPECT_THAT(notebook, HasSubstr("Not applicable: "));
      EXPECT_THAT(notebook, Not(HasSubstr(fmt::format("load(\\\"{}\\\")", loaded.analysis->name))));
    }
  SKIP_WITHOUT_JUPYTER();
  expect_drawn(execute(folder / "notebook.ipynb"), figures_of(folder.path()));
}

INSTANTIATE_TEST_SUITE_P(Kept, GoldenNotebooks,
                         ::testing::Values("bert", "deepseek_v3", "dinov2_with_registers_interp", "falcon_alibi",
                                           "gemma3_text", "mixtral"),
                         [](const auto& info) { return info.param; });

TEST(SmolLM2Notebook, DrawsEveryFigureAndRuns) {
  SKIP_WITHOUT_SMOLLM2();
  const TemporaryFolder folder;
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const Tokenizer tokenizer = checkpoint->tokenizer();
  // The null space takes most of a minute; the tiny model has its figures.
  make_run(*checkpoint, read_prompts({}, &tokenizer), "smollm2-135m", {}, folder.path(), "null_space");
  const auto result = run_program({"notebook", folder.path().string(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(parse_json(result.out, "standard output").at("undrawn_figures"), Json::array());
  SKIP_WITHOUT_JUPYTER();
  const Json executed = execute(folder / "notebook.ipynb");
  expect_drawn(executed, figures_of(folder.path()));
  // The cell on a hidden state finds in the dump what the analysis found.
  const Json top = read_json_file(folder / "results/spikes.json")["layers"][15]["top"][0];
  EXPECT_THAT(printed(executed), HasSubstr(fmt::format("dimension {}: {:.1f}", top.at("dim").get<int64_t>(),
                                                       top.at("value").get<double>())));
}

}  // namespace
}  // namespace spikescope
