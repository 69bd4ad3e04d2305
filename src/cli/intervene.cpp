#include "intervene/intervene.h"

#include <fmt/format.h>

#include "analyses/labels.h"
#include "analyses/run.h"
#include "analyses/spikes/spikes.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "cli/command.h"
#include "model/gemm.h"
#include "model/language_model.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  CaptureOptions capture;
  std::vector<std::string> specs;
  bool only = false;
};

/// The baseline: a dump of every residual state in OUT. Made where prompts are named or there is none yet; false when
/// that was stopped.
bool make_baseline(CaptureOptions& options, const Checkpoint& checkpoint, const Session& session) {
  if (!has_texts(options.prompts) && fs::exists(options.out / "dump" / "index.h5")) {
    const DumpInfo info = DumpReader(options.out).info();
    check_weights_of(info, checkpoint);
    if (info.dtype != dtype_name(options.dtype))
      fail("{}: the dump's pass was in {}; say --dtype {} or name prompts, for a new one",
           (options.out / "dump").string(), info.dtype, info.dtype);
    prepare_products(options.dtype, checkpoint.architecture(), session);
    return true;
  }
  const Needs needs = spikes_needs();
  options.request.points = needs.points;
  options.request.writers = needs.writers;
  return run_capture(options, session).stopped_layer == 0;
}

void print_table(const Json& results) {
  const auto row = [](const Json& run, const std::string& difference) {
    fmt::print("{:<36} {:>9} {:>8} {:>12} {:>18} {:>9} {:>7}\n", run.at("name").get<std::string>(),
               fmt::format("{:.4f}", number_or_nan(run.at("loss"))), number(run.at("se")), number(run.at("perplexity")),
               difference, number(run.at("loss_position0")), number(run.at("sinks")));
  };
  fmt::print("{:<36} {:>9} {:>8} {:>12} {:>18} {:>9} {:>7}\n", "run", "loss", "se", "perplexity", "difference",
             "at pos. 0", "sinks");
  row(results.at("baseline"), "");
  for (const Json& run : results.at("runs"))
    row(run, fmt::format("{:+.4f} ({})", number_or_nan(run.at("difference")), number(run.at("difference_se"))));
}

}  // namespace

Json intervene_on(const Checkpoint& checkpoint, const fs::path& out, const InterventionRequest& request,
                  const Session& session) {
  const DumpReader dump(out);
  Json results;
  const InterruptGuard interrupt;  // ends the program as the signal asks, once nothing unfinished is left behind
  Progress progress("intervene", session.quiet);
  const auto report = [&](double fraction, const std::string& run) {
    interrupt.check();
    progress.update(fraction, run);
  };
  make_results(dump, "interventions",
               [&](H5File& arrays) { return results = run_interventions(checkpoint, dump, request, arrays, report); });
  progress.done();
  return results;
}

namespace {

int intervene(Options& options, const Session& session) {
  CaptureOptions& capture = options.capture;
  set_threads(session.threads);
  const fs::path path = resolve_model(capture.model);
  if (!Checkpoint::towers(path).empty())
    fail_usage("interventions are judged by the loss of the next token, which a model of texts and images has not");
  const auto checkpoint = Checkpoint::open(path, capture.as);
  require_language_model(checkpoint->architecture(), "interventions are judged by");
  InterventionRequest request{{}, !options.only, capture.seed};
  for (const std::string& spec : options.specs)
    request.given.push_back({spec, fmt::format("spec {}", request.given.size() + 1), std::nullopt, false,
                             parse_edits(spec, checkpoint->architecture()), true});
  if (options.only && request.given.empty()) fail_usage("--only: there is no --spec to run");
  if (!make_baseline(capture, *checkpoint, session)) return 0;

  Json results = intervene_on(*checkpoint, capture.out, request, session);
  if (results.at("plateaus").empty())
    note(session, "there are no spikes on these prompts: only what --spec names was run");
  for (const Json& run : results.at("runs"))
    if (run.at("rows") == 0)
      note(session, fmt::format("note: '{}' changes nothing: no token is meant", run.at("name").get<std::string>()));
  const std::string file = (capture.out / "results" / "interventions.json").string();
  if (session.json) {
    results["results"] = file;
    fmt::print("{}\n", json_text(results));
  } else {
    print_table(results);
    fmt::print("{}\n", file);
  }
  return 0;
}

}  // namespace

void add_intervene(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("intervene", "Change spikes on the way and see what becomes of the loss");
  command->footer(
      R"(What is tried is chosen from the spikes found: spike dimensions to zero, to their mean, clamped; writer neurons
off; templates inserted; and controls that should do nothing. --spec adds more:
)" + edit_grammar() +
      R"(

Examples:
  spikescope intervene --model smollm2-135m --out runs/smol                    on the prompts of that run
  spikescope intervene --model smollm2-135m --out runs/wiki --text wiki.txt --windows 40 --length 512
  spikescope intervene --model smollm2-135m --out runs/smol --only --spec zero:layer=12,dims=507 \
    --spec 'zero:point=mlp.post,layer=11,dims=1229+1487,tokens=all' \
    --spec 'zero:layer=12-28,dims=507 mean:point=ln1.out,layer=12-28,dims=all'

Without prompts, those of the dump in OUT are used; with prompts, a new dump takes its place.
Results are OUT/results/interventions.json; 'spikescope report OUT' shows them.)");
  auto options = std::make_shared<Options>();
  add_capture_options(*command, options->capture);
  command->add_option("--spec", options->specs, "An intervention of your own (repeatable), as said below")
      ->group("Interventions");
  command->add_flag("--only", options->only, "Run what --spec says and nothing else")->group("Interventions");
  command->callback(
      [options, &session] { session.action = [options, &session] { return intervene(*options, session); }; });
}

}  // namespace spikescope
