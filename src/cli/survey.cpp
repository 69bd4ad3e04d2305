#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "base/interrupt.h"
#include "cli/command.h"
#include "cli/page.h"
#include "cli/survey_record.h"
#include "io/output_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using Status = SurveyEntry::Status;

class Survey {
 public:
  Survey(std::vector<std::string> models, fs::path out, CaptureOptions capture, bool force, const Session& session)
      : out_(std::move(out)), capture_(std::move(capture)), force_(force), session_(session) {
    record_.settings = survey_settings(capture_);
    capture_.any_inputs = true;
    for (const SurveyEntry& model : survey_entries(models))
      for (SurveyEntry& entry : towers_of(model)) record_.entries.push_back(std::move(entry));
    recall(record_, out_ / "survey.json", session_);
  }

  /// The exit code.
  int run() {
    const InterruptGuard interrupt;  // ends the program as the signal asks, once everything is in order
    const int64_t all = static_cast<int64_t>(record_.entries.size());
    int64_t number = 0;
    for (SurveyEntry& entry : record_.entries) {
      if (interrupt.interrupted()) break;
      ++number;
      const std::string what = fmt::format("{} of {}: {}", number, all, entry.name);
      if (run_one(entry, what) && number < all) renew_page();
    }
    renew_page();
    if (interrupt.interrupted())
      note(session_, fmt::format("stopped: {} of {} models are done; go on with the same command",
                                 record_.count(Status::done), all));
    return tell();
  }

 private:
  /// The options for each tower of a model; the model as a whole where it has none, or cannot be opened.
  std::vector<CaptureOptions> runs_of(const SurveyEntry& model, const fs::path& folder) const {
    CaptureOptions options = capture_;
    options.model = model.model;
    options.out = folder;
    try {
      return of_each_tower(options);
    } catch (const Error&) {
      return {options};  // its run will say what is wrong
    }
  }

  std::vector<SurveyEntry> towers_of(const SurveyEntry& model) const {
    std::vector<SurveyEntry> entries;
    for (const CaptureOptions& run : runs_of(model, out_ / model.name)) {
      entries.push_back(model);
      entries.back().tower = run.tower;
      if (!run.tower.empty()) entries.back().name += "/" + run.tower;
    }
    return entries;
  }

  CaptureOptions options_of(const SurveyEntry& entry) const {
    const fs::path folder = out_ / entry.name;
    std::vector<CaptureOptions> runs = runs_of(entry, entry.tower.empty() ? folder : folder.parent_path());
    const auto own = std::find_if(runs.begin(), runs.end(), [&](const auto& run) { return run.tower == entry.tower; });
    return own == runs.end() ? runs.front() : *own;
  }

  /// Whether there is something new of the model.
  bool run_one(SurveyEntry& entry, const std::string& what) {
    CaptureOptions options = options_of(entry);
    options.request.storage.resume = entry.status == Status::unfinished && !force_;
    options.to_resume = "it goes on with the same command";
    const auto began = std::chrono::steady_clock::now();
    entry.error.clear();
    try {
      std::string why = "--force";
      {
        const PreparedCapture prepared = prepare_capture(options, session_);
        CaptureOptions wanted = options;
        add_needs_of_all(wanted.request);
        if (!force_) why = why_to_run(wanted, prepared, entry);
        entry.files = files_of(*prepared.checkpoint);
      }
      if (why.empty()) {
        entry.status = Status::done;
        entry.sha256 = DumpReader(options.out).info().model_sha256;
        note(session_, what + " (done before)");
        write_record();
        return false;
      }
      note(session_, fs::exists(options.out / "dump") ? fmt::format("{} (again: {})", what, why) : what);
      entry.status = Status::unfinished;
      write_record();
      const CaptureSummary summary = run_all(options, session_);
      if (summary.stopped_layer > 0) return false;
      entry.sha256 = DumpReader(options.out).info().model_sha256;
      entry.status = Status::done;
    } catch (const std::bad_alloc&) {
      entry.error = "out of memory; run fewer or shorter prompts, or capture fewer points";
    } catch (const std::exception& error) {
      entry.error = error.what();
    }
    if (!entry.error.empty()) {
      entry.status = Status::failed;
      note(session_, fmt::format("{} failed: {}", what, entry.error));
    }
    entry.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    write_record();
    return true;
  }

  void write_record() const { write_file(out_ / "survey.json", json_text(to_json(record_, session_), 1) + "\n"); }

  /// The page over all that is there by now. That it cannot be drawn is told at the end: it must not end the survey.
  void renew_page() {
    std::vector<ComparedRun> runs;
    for (const SurveyEntry& entry : record_.entries) {
      if (entry.status != Status::done && entry.status != Status::failed) continue;
      ComparedRun run;
      try {
        if (entry.status == Status::done) run = read_run(fs::weakly_canonical(out_ / entry.name));
        run.error = entry.error;
      } catch (const Error& error) {
        run = {};
        run.error = error.what();
      }
      run.name = entry.name;
      runs.push_back(std::move(run));
    }
    if (runs.empty()) return;  // stopped within the first: the page of an earlier call stays
    page_error_.clear();
    try {
      const size_t all = record_.entries.size();
      write_comparison(runs,
                       {{"Models", fmt::format("{} of {} done, {} failed", record_.count(Status::done), all,
                                               record_.count(Status::failed))}},
                       out_, session_);
    } catch (const Error& error) {
      page_error_ = error.what();
    }
  }

  int tell() const {
    const fs::path page = out_ / "index.html";
    if (session_.json) {
      Json json = to_json(record_, session_);
      json["page"] = page.string();
      fmt::print("{}\n", json_text(json));
    } else if (fs::exists(page)) {
      fmt::print("page: {}\n", page.string());
    }
    std::fflush(stdout);  // a signal may end the program before it would
    for (const SurveyEntry& entry : record_.entries)
      if (entry.status == Status::failed) fmt::print(stderr, "spikescope: {}: {}\n", entry.name, entry.error);
    if (!page_error_.empty()) fmt::print(stderr, "spikescope: {}\n", page_error_);
    return record_.count(Status::failed) > 0 || !page_error_.empty() ? 1 : 0;
  }

  const fs::path out_;
  CaptureOptions capture_;
  const bool force_;
  const Session& session_;
  SurveyRecord record_;
  std::string page_error_;
};

/// Before the first model: a prompt file that is missing would fail every one of them.
void check_prompt_files(const PromptRequest& prompts) {
  for (const auto& file : {prompts.prompts_file, prompts.ids_file, prompts.text_file}) {
    std::error_code error;
    if (file && !fs::exists(*file, error)) fail("{}: no such file; name the file with the prompts", file->string());
  }
}

}  // namespace

void add_survey(CLI::App& app, Session& session) {
  struct Options {
    std::vector<std::string> models;
    fs::path out = "survey";
    CaptureOptions capture;
    bool force = false;
  };
  CLI::App* command = app.add_subcommand("survey", "Run many models one after another, and compare them in one page");
  command->footer(R"(Examples:
  spikescope survey smollm2-135m gemma-3-270m --out runs/two
  spikescope survey models/*.gguf --out runs/all --text corpus.txt --windows 16 --length 256 --dtype bf16
  spikescope survey smollm2-135m gemma-3-270m mine/ --out runs/two     runs what is new only

Each model is captured, analysed and reported into OUT/<name>, as `spikescope run` does; OUT/index.html puts all of them
side by side and is renewed after every model. One that fails does not stop the others: why it failed is in the table, in
OUT/survey.json, and said at the end. The same command again runs only what is missing: models that failed, were stopped
half-way (they go on), or whose file or settings have changed. Other models of an earlier call stay in OUT, off the page.)");
  auto options = std::make_shared<Options>();
  command->add_option("models", options->models, "Catalogue names, GGUF files, Hugging Face folders")->required();
  command->add_option("--out", options->out, "Folder for the survey")->capture_default_str();
  command->add_flag("--force", options->force, "Run all models again");
  add_pass_options(*command, options->capture);
  add_sample_options(*command, options->capture);
  command
      ->add_option("--points", options->capture.request.points, "Hook points to dump besides those the analyses need")
      ->allow_extra_args(false)  // one value each time: what follows is a model
      ->group("Dump");
  command->callback([options, &session] {
    session.action = [options, &session] {
      check_prompt_files(options->capture.prompts);
      return Survey(options->models, options->out, options->capture, options->force, session).run();
    };
  });
}

}  // namespace spikescope
