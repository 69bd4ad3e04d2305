#include "analyses/null_space/null_space.h"
#include "analyses/run.h"

#include <fmt/format.h>

#include "cli/command.h"

namespace fs = std::filesystem;

namespace spikescope {

void add_needs_of_all(CaptureRequest& request) {
  std::vector<const Analysis*> all;
  for (const Analysis& analysis : analyses()) all.push_back(&analysis);
  const Needs needs = combined_needs(all);
  request.points_if_any = needs.points;
  request.sinks = needs.sinks;
  request.writers = needs.writers;
}

CaptureSummary run_all(CaptureOptions& options, const Session& session) {
  const LayerChoice layers = parse_layers(options.spectrum_layers, kSpectrumLayersOption);
  add_needs_of_all(options.request);
  const CaptureSummary summary = run_capture(options, session);
  if (summary.stopped_layer > 0) return summary;
  note(session, fmt::format("captured in {:.1f} s", summary.seconds));
  run_analyses_on(options.out, {}, options.model, true, {options.seed, layers, {}}, session);
  write_report_for(options.out, session);
  return summary;
}

void add_run(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("run", "Capture, analyse and report, in one go");
  command->footer(R"(Examples:
  spikescope run --model smollm2-135m --out runs/smol
  spikescope run --model DIR --out runs/mine --text corpus.txt --windows 16 --length 256

Without prompts, a dozen built-in ones are used. The report is OUT/report/index.html.)");
  auto options = std::make_shared<CaptureOptions>();
  add_capture_options(*command, *options);
  command->add_option("--points", options->request.points, "Hook points to dump besides those the analyses need")
      ->group("Dump");
  add_spectrum_option(*command, options->spectrum_layers);
  command->callback([options, &session] {
    session.action = [options, &session] {
      std::vector<CaptureOptions> runs = of_each_tower(*options);
      Json results = Json::array();
      for (CaptureOptions& run : runs) {
        const CaptureSummary summary = run_all(run, session);
        const fs::path page = run.out / "report" / "index.html";
        results.push_back(
            {{"capture", to_json(summary)}, {"results", (run.out / "results").string()}, {"report", page.string()}});
        if (!session.json) fmt::print("report: {}\n", page.string());
      }
      join_captures(*options, runs);
      if (session.json) fmt::print("{}\n", json_text(by_tower(runs, results)));
      return 0;
    };
  });
}

}  // namespace spikescope
