// What the sub-commands share: options that several of them take, and how they are run.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "capture/capture.h"
#include "analyses/run.h"
#include "capture/prompts.h"
#include "families/checkpoint.h"
#include "model/product.h"

namespace spikescope {

struct InterventionRequest;

/// State of one call of the program.
struct Session {
  std::string command_line;     ///< as typed, for the record
  int threads = 0;              ///< --threads; 0: all cores available
  bool json = false;            ///< --json: one document on standard output
  bool quiet = false;           ///< --quiet: no progress, no notes
  std::function<int()> action;  ///< of the sub-command that was called; returns the exit code
};

/// Adds a sub-command whose parsing sets session.action.
using AddCommand = void (*)(CLI::App& app, Session& session);
void add_run(CLI::App& app, Session& session);
void add_capture(CLI::App& app, Session& session);
void add_analyze(CLI::App& app, Session& session);
void add_report(CLI::App& app, Session& session);
void add_intervene(CLI::App& app, Session& session);
void add_scan(CLI::App& app, Session& session);
void add_quantize(CLI::App& app, Session& session);
void add_notebook(CLI::App& app, Session& session);
void add_reproduce(CLI::App& app, Session& session);
void add_compare(CLI::App& app, Session& session);
void add_survey(CLI::App& app, Session& session);
void add_inspect(CLI::App& app, Session& session);
void add_families(CLI::App& app, Session& session);
void add_tokenize(CLI::App& app, Session& session);
void add_models(CLI::App& app, Session& session);
void add_selftest(CLI::App& app, Session& session);

/// Adds --seed.
void add_seed_option(CLI::App& command, uint64_t& seed);
/// Adds --spectrum-layers, of everything that runs analyses.
void add_spectrum_option(CLI::App& command, std::string& layers);
/// Adds --dtype.
void add_dtype_option(CLI::App& command, Dtype& dtype);

/// Options of everything that runs the model.
struct CaptureOptions {
  std::string model;
  std::string as;     ///< --as: the family to read it as; empty: what it calls itself
  std::string tower;  ///< of a model with two
  std::optional<std::filesystem::path> pixels;
  bool any_inputs = false;  ///< of texts and images given, a model takes what it can read and leaves the rest
  std::filesystem::path out;
  PromptRequest prompts;
  std::string bos = "auto";
  CaptureRequest request;
  bool profile = false;
  Dtype dtype = Dtype::float32;
  int64_t random_first = 0;                                            ///< prompts of one random token besides
  uint64_t seed = 0;                                                   ///< of all samples
  std::string spectrum_layers = "auto";                                ///< as parse_layers() reads it
  std::string to_resume = "go on with the same command and --resume";  ///< what a stopped capture tells people to do
};
/// Adds --random-first and --seed.
void add_sample_options(CLI::App& command, CaptureOptions& options);
/// The options once for each tower to be run, its points and OUT/<tower> in them; as they are where the model has no
/// towers. A tower is run where there is something for it: images for one, texts (the built-in ones where there are no
/// images) for the other.
std::vector<CaptureOptions> of_each_tower(const CaptureOptions& options);
/// After the captures of several towers: OUT/dump over them.
void join_captures(const CaptureOptions& options, const std::vector<CaptureOptions>& towers);
/// Adds what --model and --out do not name: the prompt options, --storage, --gzip, --dtype and --losses.
void add_pass_options(CLI::App& command, CaptureOptions& options);
/// The same with --model, --out, --resume and --profile.
void add_capture_options(CLI::App& command, CaptureOptions& options);
/// A capture that is about to run: the checkpoint open, prompts read.
struct PreparedCapture {
  std::unique_ptr<Checkpoint> checkpoint;
  DumpTokens tokens;
  DumpInfo info;  ///< without what the pass itself fills in: hash, family, config
};
PreparedCapture prepare_capture(CaptureOptions& options, const Session& session);
/// Whether any prompts are named, texts or ids.
bool has_texts(const PromptRequest& prompts);
/// Chooses the precision of products and proves that they are right on this machine.
void prepare_products(Dtype dtype, const Architecture& architecture, const Session& session);
/// Runs a capture as the options say; prints notes on standard error.
CaptureSummary run_capture(CaptureOptions& options, const Session& session);
/// The summary as JSON: what capture --json prints.
Json to_json(const CaptureSummary& summary);
/// A result for each run as one document: an object by tower, or the only one as it is.
Json by_tower(const std::vector<CaptureOptions>& runs, const Json& results);

/// Asks for what all analyses need besides.
void add_needs_of_all(CaptureRequest& request);
/// Captures, analyses and reports: `run`. A capture that was stopped (stopped_layer) is left as it is.
CaptureSummary run_all(CaptureOptions& options, const Session& session);

/// Runs the analyses of those names (all when empty) on OUT and prints notes on standard error; `model` may be empty:
/// the dump's own checkpoint. `just_captured`: the dump was made from it by this call of the program, so its hash is
/// not compared once more, which would read it once more.
void run_analyses_on(const std::filesystem::path& out, const std::vector<std::string>& names, const std::string& model,
                     bool just_captured, AnalysisSettings settings, const Session& session);
/// Throws UsageError: there is no such analysis among those `known`, but perhaps one of a similar name.
[[noreturn]] void fail_unknown_analysis(const std::string& name, const std::vector<std::string>& known);
/// Writes OUT/report and returns the page's path.
std::filesystem::path write_report_for(const std::filesystem::path& out, const Session& session);

/// Runs interventions on the dump in OUT and leaves OUT/results/interventions.json; returns what is in it of its own.
Json intervene_on(const Checkpoint& checkpoint, const std::filesystem::path& out, const InterventionRequest& request,
                  const Session& session);

/// How a dump was made: model, data, precision, machine, ... as pages list it.
std::vector<std::pair<std::string, std::string>> facts_of(const DumpReader& dump);

/// Throws Error when the checkpoint's weights are not those that the dump was made with.
void check_weights_of(const DumpInfo& info, const Checkpoint& checkpoint);

/// The path that --model means: a catalogue name's cached file, or the path itself. Throws Error for a name not fetched
/// yet.
std::filesystem::path resolve_model(const std::string& model);
/// The name that people call the model by: the catalogue's, or the file's or folder's.
std::string model_name(const std::string& model);

/// A line on standard error, unless --quiet.
void note(const Session& session, const std::string& text);
/// JSON for standard output; pieces of a vocabulary need not be valid UTF-8, so broken bytes become U+FFFD.
std::string json_text(const Json& json, int indent = 2);

}  // namespace spikescope
