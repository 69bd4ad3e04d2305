#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "analyses/run.h"
#include "base/fail.h"
#include "cli/command.h"
#include "cli/page.h"
#include "cli/survey_record.h"
#include "intervene/intervene.h"
#include "io/output_file.h"
#include "model/gemm.h"
#include "model/language_model.h"
#include "report/reproduction.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string paper;
  CaptureOptions capture;
  bool list = false;
};

const Paper& chosen_paper(const std::string& id) {
  std::vector<std::string> known;
  for (const Paper& paper : papers()) known.emplace_back(paper.id);
  if (id.empty()) fail_usage("name a paper: {} (--list says what each of them shows)", fmt::join(known, " or "));
  if (const Paper* paper = find_paper(id)) return *paper;
  fail_usage("there is no paper '{}' here; there are: {}", id, fmt::join(known, ", "));
}

int list(const std::string& id, const Session& session) {
  std::vector<const Paper*> chosen;
  if (!id.empty()) chosen.push_back(&chosen_paper(id));
  for (const Paper& paper : papers())
    if (id.empty()) chosen.push_back(&paper);
  Json json = Json::array();
  for (const Paper* paper : chosen) {
    json.push_back(registry_json(*paper));
    if (session.json) continue;
    fmt::print("{}  {}, {}\n", paper->id, paper->title, paper->authors);
    for (const Exhibit& exhibit : paper->exhibits)
      fmt::print("  {}\n    claim: {}\n    {}: {}\n", exhibit.name, exhibit.claim, exhibit.judge ? "from" : "not made",
                 exhibit.judge ? fmt::format("{}", fmt::join(exhibit.needs, ", ")) : std::string(exhibit.why_not));
  }
  if (session.json) fmt::print("{}\n", json_text(json));
  return 0;
}

/// Whether OUT has results of that name, of its dump and the seed.
bool up_to_date(const fs::path& out, std::string_view name, uint64_t seed) {
  const fs::path json = out / "results" / fmt::format("{}.json", name),
                 arrays = fs::path(json).replace_extension(".h5");
  if (!fs::exists(json) || !fs::exists(arrays)) return false;
  if (fs::last_write_time(json) < fs::last_write_time(out / "dump" / "index.h5")) return false;
  const auto asked = static_cast<int64_t>(seed);
  return json_get_or<int64_t>(read_json_file(json), "seed", asked, json.string()) == asked;
}

/// The dump in OUT, made unless it is there already; without prompts, one that is there is taken as it is. False when
/// the capture was stopped.
bool make_dump(CaptureOptions& options, bool& captured, const Session& session) {
  add_needs_of_all(options.request);
  const bool named = has_texts(options.prompts) || options.pixels || options.random_first > 0;
  if (!named && fs::exists(options.out / "dump" / "index.h5")) {
    const auto checkpoint = Checkpoint::open(resolve_model(options.model), options.as, options.tower);
    check_weights_of(DumpReader(options.out).info(), *checkpoint);
    return true;
  }
  const std::string why = why_to_capture(options.out, prepare_capture(options, session), options.request);
  if (why.empty()) {
    note(session, fmt::format("{}: the dump that is there is of the same model and settings", options.out.string()));
    return true;
  }
  captured = true;
  return run_capture(options, session).stopped_layer == 0;
}

/// Why there can be no interventions on the dump; empty: there can.
std::string why_no_interventions(const Checkpoint& checkpoint, const fs::path& out) {
  try {
    require_language_model(checkpoint.architecture(), "interventions are judged by");
  } catch (const UsageError& error) {
    return error.what();
  }
  const DumpReader dump(out);
  return dump.tokens().size() > dump.tokens().n_prompts() ? ""
                                                          : "no prompt has two tokens: there is nothing to predict";
}

/// Results that the paper needs, as far as they are missing, and those that an earlier dump has left.
std::vector<AnalysisResult> make_results_for(const Paper& paper, const CaptureOptions& options, bool captured,
                                             const Session& session) {
  const std::vector<std::string_view> needs = needs_of(paper);
  const auto needed = [&](std::string_view name) { return std::find(needs.begin(), needs.end(), name) != needs.end(); };
  std::vector<std::string> names;
  for (const Analysis& analysis : analyses()) {
    const fs::path file = options.out / "results" / fmt::format("{}.json", analysis.name);
    if ((needed(analysis.name) || fs::exists(file)) && !up_to_date(options.out, analysis.name, options.seed))
      names.emplace_back(analysis.name);
  }
  if (!names.empty()) run_analyses_on(options.out, names, options.model, captured, {options.seed, {}, {}}, session);
  std::string why;
  if (needed("interventions") && !up_to_date(options.out, "interventions", options.seed)) {
    const auto checkpoint = Checkpoint::open(resolve_model(options.model), options.as, options.tower);
    why = why_no_interventions(*checkpoint, options.out);
    if (why.empty()) {
      const Dtype dtype =
          DumpReader(options.out).info().dtype == dtype_name(Dtype::bfloat16) ? Dtype::bfloat16 : Dtype::float32;
      prepare_products(dtype, checkpoint->architecture(), session);
      intervene_on(*checkpoint, options.out, {{}, true, options.seed}, session);
    }
  }
  std::vector<AnalysisResult> results = load_results(options.out);
  if (!why.empty()) {
    std::erase_if(results, [](const AnalysisResult& result) { return result.analysis->name == "interventions"; });
    results.push_back({&experiments()[0], {{"applicable", false}, {"why", why}}, {}});
  }
  return results;
}

/// The page of one model or tower; null when its capture was stopped.
Json reproduce(const Paper& paper, CaptureOptions& options, const Session& session) {
  bool captured = false;
  if (!make_dump(options, captured, session)) return nullptr;
  const std::vector<AnalysisResult> results = make_results_for(paper, options, captured, session);
  const DumpReader dump(options.out);
  const std::vector<JudgedExhibit> exhibits = judge_paper(paper, results, dump);
  const fs::path folder = options.out / "reproduce" / paper.id;
  ReportPage page = reproduction_page(paper, exhibits, results, dump.info().model_name);
  page.facts = facts_of(dump);
  page.facts.insert(page.facts.begin(),
                    {"Paper", fmt::format("{}, {}, arXiv {}", paper.title, paper.authors, paper.id)});
  Json json = reproduction_json(paper, exhibits, dump.info().model_name);
  const fs::path written = write_page(std::move(page), folder, true, session);
  write_file(folder / "reproduction.json", json_text(json, 1) + "\n");
  json["page"] = written.string();
  if (session.json) return json;
  for (const JudgedExhibit& one : exhibits) fmt::print("{:<20} {}\n", holds_text(one.verdict.holds), one.exhibit->name);
  fmt::print("page: {}\n", written.string());
  return json;
}

int run(Options& options, const Session& session) {
  const Paper& paper = chosen_paper(options.paper);
  if (options.capture.model.empty()) fail_usage("--model: name the model to reproduce {} on", paper.id);
  if (options.capture.out.empty()) options.capture.out = fs::path("runs") / model_name(options.capture.model);
  std::vector<CaptureOptions> runs = of_each_tower(options.capture);
  Json results = Json::array();
  bool joined = true;
  for (CaptureOptions& one : runs) {
    results.push_back(reproduce(paper, one, session));
    joined &= !results.back().is_null();
  }
  if (joined) join_captures(options.capture, runs);
  if (session.json) fmt::print("{}\n", json_text(by_tower(runs, results)));
  return 0;
}

}  // namespace

void add_reproduce(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("reproduce", "Make a paper's figures on a model, and say what of it holds there");
  command->footer(R"(Examples:
  spikescope reproduce 2402.17762 --model smollm2-135m             runs/smollm2-135m/reproduce/2402.17762/index.html
  spikescope reproduce 2606.02288 --model DIR --out runs/mine --text corpus.txt --windows 16 --length 256
  spikescope reproduce --list                                      what the papers show, claim by claim

2402.17762 is "Massive Activations in Large Language Models", 2606.02288 "Massive Spikes in LLMs are Bias Vectors". The
page has each exhibit in the paper's order: its figures, its claim, whether that is confirmed, partly so or not so in
this model, and the numbers that decide. What OUT holds already is used: without prompts, the dump that is there; with
prompts, a dump of the same model and settings; and results of its analyses and interventions. Beside the page is
reproduction.json (docs/results.md).)");
  auto options = std::make_shared<Options>();
  command->add_option("paper", options->paper, "The paper's number on arXiv");
  command->add_flag("--list", options->list, "List the exhibits; no model is run");
  add_capture_options(*command, options->capture);
  command->get_option("--model")->required(false);
  command->get_option("--out")->required(false)->description("Folder for the results (default: runs/MODEL)");
  command->callback([options, &session] {
    session.action = [options, &session] {
      set_threads(session.threads);
      return options->list ? list(options->paper, session) : run(*options, session);
    };
  });
}

}  // namespace spikescope
