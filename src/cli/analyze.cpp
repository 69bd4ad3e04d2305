#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analyses/null_space/null_space.h"
#include "analyses/run.h"
#include "base/fail.h"
#include "base/nearest.h"
#include "base/progress.h"
#include "cli/command.h"
#include "model/gemm.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

std::vector<const Analysis*> chosen_analyses(const std::vector<std::string>& names) {
  std::vector<const Analysis*> chosen;
  std::vector<std::string> known;
  for (const Analysis& analysis : analyses()) known.emplace_back(analysis.name);
  for (const std::string& name : names.empty() ? known : names) {
    const Analysis* analysis = find_analysis(name);
    if (!analysis) fail_unknown_analysis(name, known);
    chosen.push_back(analysis);
  }
  return chosen;
}

/// The checkpoint that the dump records, or another file with the same weights. nullptr, with a note, when the recorded
/// one is gone: analyses then leave out what needs weights.
std::unique_ptr<Checkpoint> open_checkpoint_of(const fs::path& out, const std::string& model, bool just_captured,
                                               const Session& session) {
  const DumpInfo info = DumpReader(out).info();
  const fs::path path = model.empty() ? fs::path(info.model) : resolve_model(model);
  if (model.empty() && !fs::exists(path)) {
    note(session,
         fmt::format("note: the checkpoint {} is gone, so what needs its weights is left out; name it with --model",
                     path.string()));
    return nullptr;
  }
  auto checkpoint =
      Checkpoint::open(path, info.family, json_get_or<std::string>(info.config, "tower", "", "config of the dump"));
  if (!just_captured) check_weights_of(info, *checkpoint);
  return checkpoint;
}

}  // namespace

void fail_unknown_analysis(const std::string& name, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(name, known);
  fail_usage("there is no analysis '{}'; {}", name,
             nearest.empty() ? fmt::format("there are: {}", fmt::join(known, ", "))
                             : fmt::format("did you mean '{}'?", nearest));
}

void check_weights_of(const DumpInfo& info, const Checkpoint& checkpoint) {
  if (const std::string found = checkpoint.sha256(); found != info.model_sha256)
    fail(
        "{}: this is not the checkpoint of the dump (SHA-256 {}..., the dump records {}...); name the right one with "
        "--model",
        checkpoint.path().string(), found.substr(0, 12), info.model_sha256.substr(0, 12));
}

void run_analyses_on(const fs::path& out, const std::vector<std::string>& names, const std::string& model,
                     bool just_captured, AnalysisSettings settings, const Session& session) {
  const std::vector<const Analysis*> chosen = chosen_analyses(names);
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint_of(out, model, just_captured, session);
  const auto weights = [&]() -> const ModelWeights& {
    if (!checkpoint) fail("the checkpoint is gone");
    return checkpoint->weights();
  };
  Progress progress("analyse", session.quiet);
  size_t done = 0;
  std::string_view current;
  const auto report = [&](std::string_view name, double fraction) {
    if (name != current && !current.empty()) ++done;
    current = name;
    progress.update((static_cast<double>(done) + fraction) / static_cast<double>(chosen.size()), std::string(name));
  };
  settings.note = [&](const std::string& text) {
    progress.pause();
    note(session, text);
  };
  run_analyses(out, chosen, weights, report, settings);
}

void add_seed_option(CLI::App& command, uint64_t& seed) {
  command.add_option("--seed", seed, "Seed of all that is drawn at random (ordinary tokens, random first tokens, controls of interventions);\n"
                                     "the same seed draws the same on every machine")->capture_default_str();
}

void add_spectrum_option(CLI::App& command, std::string& layers) {
  command
      .add_option(kSpectrumLayersOption, layers,
                  "Blocks in which the singular directions of whole W_Q, W_K and W_V are found (null_space), as\n"
                  "0,12-20; all; none. auto: all in small models, else those that tell most. Single heads: always all")
      ->capture_default_str();
}

void add_analyze(CLI::App& app, Session& session) {
  struct Options {
    fs::path out;
    std::vector<std::string> only;
    std::string model;
    uint64_t seed = 0;
    std::string spectrum_layers = "auto";
  };
  CLI::App* command = app.add_subcommand("analyze", "Redo analyses from a dump, without running the model");
  command->footer(R"(Examples:
  spikescope analyze runs/smol                 all analyses
  spikescope analyze runs/smol --only spikes   one of them

Results are OUT/results/<analysis>.json and .h5 (docs/results.md).)");
  auto options = std::make_shared<Options>();
  command->add_option("out", options->out, "Folder of a capture")->required();
  command->add_option("--only", options->only, "Analyses to run, by name (repeatable)");
  command->add_option("--model", options->model, "Checkpoint to read weights from (default: the one the dump records)");
  add_seed_option(*command, options->seed);
  add_spectrum_option(*command, options->spectrum_layers);
  command->callback([options, &session] {
    session.action = [options, &session] {
      set_threads(session.threads);
      run_analyses_on(options->out, options->only, options->model, false,
                      {options->seed, parse_layers(options->spectrum_layers, kSpectrumLayersOption), {}}, session);
      Json files = Json::array();
      for (const Analysis* analysis : chosen_analyses(options->only))
        files.push_back((options->out / "results" / (std::string(analysis->name) + ".json")).string());
      if (session.json)
        fmt::print("{}\n", json_text({{"results", files}}));
      else
        for (const Json& file : files) fmt::print("{}\n", file.get<std::string>());
      return 0;
    };
  });
}

}  // namespace spikescope
