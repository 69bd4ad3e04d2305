#include <fmt/format.h>

#include <chrono>

#include "analyses/labels.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/version.h"
#include "capture/corpus.h"
#include "cli/command.h"
#include "cli/evaluation_options.h"
#include "io/output_file.h"
#include "model/gemm.h"
#include "model/language_model.h"
#include "quant/kept_evaluation.h"
#include "quant/perplexity.h"
#include "quant/recipe.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, bos = "auto", reference;
  std::optional<fs::path> out;
  WindowOptions text;
  TaskOptions tasks;
  int64_t batch_tokens = kBatchTokens;
  Dtype dtype = Dtype::float32;
  bool resume = false;
};

/// A model, what it is asked, and what it has answered so far.
struct Subject {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<SavedActivations> activations;  // of a model that 'quantize' has saved
  std::optional<Tokenizer> tokenizer;
  std::optional<int64_t> bos;
  std::optional<TextWindows> windows;
  std::vector<TaskRows> tasks;
  KeptEvaluation kept;
};

Subject open_subject(const std::string& model, const std::string& as, const Options& options) {
  const fs::path path = resolve_model(model);
  if (!Checkpoint::towers(path).empty())
    fail_usage("an evaluation needs the loss of the next token, which a model of texts and images has not");
  Subject subject;
  subject.checkpoint = Checkpoint::open(path, as);
  const Architecture& a = subject.checkpoint->architecture();
  require_language_model(a, "an evaluation needs");
  subject.activations = read_saved_activations(*subject.checkpoint);
  const Tokenizer& tokenizer = subject.tokenizer.emplace(subject.checkpoint->tokenizer());
  const std::optional<int64_t> bos = subject.bos = bos_in_front(parse_bos(options.bos), tokenizer);
  subject.kept = {.model = model_name(model),
                  .model_sha256 = options.out ? subject.checkpoint->sha256() : "",
                  .dtype = std::string(dtype_name(options.dtype)),
                  .bos = bos_text(bos, tokenizer)};
  if (options.text.text) {
    const size_t prefix = subject.activations ? subject.activations->simulated().prefix().size() : 0;
    subject.windows = windows_of(options.text, a, tokenizer, bos, static_cast<int64_t>(prefix));
    subject.kept.text = subject.windows->file;
    subject.kept.ids_sha256 = subject.windows->ids_sha256;
    subject.kept.length = subject.windows->length;
  }
  return subject;
}

fs::path out_file(const fs::path& out) { return out.extension() == ".json" ? out : out / "results" / "evaluate.json"; }

/// The file in the making: what has been measured so far, until the result is whole.
fs::path partial_file(const fs::path& file) { return file.string() + ".partial"; }

/// Takes over what an earlier call has measured.
void resume_from(const Json& json, const std::string& what, Subject& subject) {
  KeptEvaluation earlier = kept_evaluation(json, what);
  if (const std::string difference = difference_of_settings(earlier, subject.kept); !difference.empty())
    fail("{} was made with {}; run without --resume to begin anew", what, difference);
  for (const TaskRows& rows : subject.tasks) {
    KeptTask& task = subject.kept.tasks[std::string(rows.task->name)];
    task.scores = std::move(earlier.tasks[std::string(rows.task->name)].scores);
    if (task.scores.size() > rows.questions.size()) task.scores.resize(rows.questions.size());
    for (size_t i = 0; i < task.scores.size(); ++i)
      if (task.scores[i].size() != rows.questions[i].choices.size())
        fail("{}, task {}: {} log-likelihoods of question {}, which has {} choices", what, rows.task->name,
             task.scores[i].size(), i, rows.questions[i].choices.size());
  }
  if (!subject.windows) return;
  if (earlier.windows.size() > static_cast<size_t>(subject.windows->count()))
    earlier.windows.resize(static_cast<size_t>(subject.windows->count()));
  subject.kept.windows = std::move(earlier.windows);
}

/// What others are compared with: another model, or the result of an earlier call.
struct Reference {
  std::optional<Subject> subject;
  KeptEvaluation from_file;

  const KeptEvaluation& kept() const { return subject ? subject->kept : from_file; }
};

std::optional<Reference> open_reference(const Options& options, const Subject& subject) {
  if (options.reference.empty()) return std::nullopt;
  Reference reference;
  if (options.reference.ends_with(".json"))
    reference.from_file = read_evaluation(options.reference);
  else
    reference.subject = open_subject(options.reference, "", options);
  const KeptEvaluation& kept = reference.kept();
  if (kept.text.empty()) fail("--reference {}: no perplexity was measured there", options.reference);
  if (const std::string difference = difference_of_windows(kept, subject.kept); !difference.empty())
    fail("--reference {}: it has {}", options.reference, difference);
  if (!reference.subject && static_cast<int64_t>(kept.windows.size()) < subject.windows->count())
    fail("--reference {}: it has {} windows, fewer than {} (lower --windows)", options.reference, kept.windows.size(),
         subject.windows->count());
  return reference;
}

/// Measures what is missing, and keeps it as it comes.
class Evaluator {
 public:
  Evaluator(const Options& options, const Session& session, Subject& subject, std::optional<Reference>& reference)
      : options_(options), subject_(subject), reference_(reference), progress_("evaluate", session.quiet) {
    if (options.out) file_ = out_file(*options.out);
    all_ = missing(subject_) + (reference_ && reference_->subject ? missing(*reference_->subject) : 0.0);
  }

  void run() {
    if (reference_ && reference_->subject) run(*reference_->subject);
    run(subject_);
    progress_.done();
  }

 private:
  /// Tokens that are to go through a model; for questions a guess, which the time left is told from.
  static double missing_windows(const Subject& subject) {
    if (!subject.windows) return 0.0;
    const int64_t windows = subject.windows->count() - static_cast<int64_t>(subject.kept.windows.size());
    return static_cast<double>(windows * subject.windows->length);
  }
  static double missing_questions(const Subject& subject, const TaskRows& rows) {
    const size_t there = subject.kept.tasks.at(std::string(rows.task->name)).scores.size();
    return kTokensOfAQuestion * static_cast<double>(rows.questions.size() - there);
  }
  static double missing(const Subject& subject) {
    double tokens = missing_windows(subject);
    for (const TaskRows& rows : subject.tasks) tokens += missing_questions(subject, rows);
    return tokens;
  }

  void run(Subject& subject) {
    const ModelWeights& weights = subject.checkpoint->weights();
    const double tokens = missing_windows(subject);
    if (subject.windows)
      measure_windows(
          weights, *subject.windows, subject.kept.windows,
          pass(subject, tokens, fmt::format("{}, {} windows", subject.kept.model, subject.windows->count())));
    done_ += tokens;
    for (const TaskRows& rows : subject.tasks) {
      const double questions = missing_questions(subject, rows);
      score_questions({weights, *subject.tokenizer, subject.bos}, rows,
                      subject.kept.tasks.at(std::string(rows.task->name)).scores,
                      pass(subject, questions, fmt::format("{}, {}", subject.kept.model, rows.task->title)));
      done_ += questions;
    }
  }

  EvaluationPass pass(const Subject& subject, double tokens, std::string part) {
    EvaluationPass pass = pass_with(subject.activations ? &subject.activations->simulated() : nullptr);
    pass.batch_tokens = options_.batch_tokens;
    pass.progress = [this, tokens, part = std::move(part)](double fraction) {
      if (interrupt_.interrupted())
        fail("interrupted; {}", file_.empty() ? "nothing was kept (--out FILE keeps what there is)"
                                              : "go on with the same command and --resume");
      const double now = done_ + fraction * tokens;
      progress_.update(now / all_, part);
    };
    pass.kept = [this] {
      if (!file_.empty()) write_file(partial_file(file_), json_text(to_keep(), -1) + "\n");
    };
    return pass;
  }

  Json to_keep() const {
    Json json = {{"analysis", "evaluate"}, {"version", version()}};
    json.update(to_json(subject_.kept));
    if (reference_ && reference_->subject) json["reference"] = to_json(reference_->subject->kept);
    return json;
  }

  const Options& options_;
  Subject& subject_;
  std::optional<Reference>& reference_;
  const InterruptGuard interrupt_;  // ends the program as the signal asks, once what there is has been kept
  Progress progress_;
  fs::path file_;
  double all_ = 0.0, done_ = 0.0;
};

void resume(const Options& options, Subject& subject, std::optional<Reference>& reference, const Session& session) {
  const fs::path file = out_file(*options.out);
  const fs::path from = fs::exists(partial_file(file)) ? partial_file(file) : file;
  if (!fs::exists(from)) return note(session, fmt::format("{}: not there yet, begun", file.string()));
  const Json json = read_json_file(from);
  const std::string made_by = json_get_or<std::string>(json, "version", "", from.string());
  if (made_by != version())
    fail("{} was made by version {}, not {}; run without --resume to begin anew", from.string(), made_by, version());
  resume_from(json, from.string(), subject);
  if (reference && reference->subject && json.contains("reference"))
    resume_from(json.at("reference"), from.string() + ", reference", *reference->subject);
  if (subject.windows)
    note(session, fmt::format("{}: {} of {} windows are there", from.string(), subject.kept.windows.size(),
                              subject.windows->count()));
  for (const TaskRows& rows : subject.tasks)
    note(session, fmt::format("{}: {} of {} questions of {} are there", from.string(),
                              subject.kept.tasks.at(std::string(rows.task->name)).scores.size(), rows.questions.size(),
                              rows.task->title));
}

Json result_of(const Subject& subject, const std::optional<Reference>& reference, double seconds) {
  Json json = {{"analysis", "evaluate"}, {"version", version()}};
  json.update(to_json(subject.kept));
  json["applicable"] = true;
  json["seconds"] = seconds;
  json["windows"] = 0;
  json["tokens"] = 0;
  if (subject.windows) {
    const TextWindows& windows = *subject.windows;
    json["windows"] = windows.count();
    json["windows_of_text"] = windows.available;
    json["tokens"] = windows.count() * windows.length;
    json.update(perplexity_json(windows, subject.kept.windows));
    json["per_window"]["bytes"] = windows.bytes;
  }
  for (const TaskRows& rows : subject.tasks) {
    const std::string name(rows.task->name);
    Json task = task_json(rows, subject.kept.tasks.at(name).scores);
    task.update(json["tasks"][name]);
    json["tasks"][name] = std::move(task);
  }
  if (!subject.tasks.empty()) json["mean_acc"] = mean_accuracy(json.at("tasks"));
  if (reference) {
    json.update(difference_json(*subject.windows, subject.kept.windows, reference->kept().windows));
    json["reference"] = to_json(reference->kept());
    std::vector<WindowLoss> same = reference->kept().windows;
    same.resize(subject.kept.windows.size());
    json["reference"].update(perplexity_json(*subject.windows, same));
  }
  return json;
}

/// What --json prints: the figures, without those of single windows and questions.
Json figures_of(Json json) {
  json.erase("per_window");
  if (json.at("model_sha256") == "") json.erase("model_sha256");  // computed for files alone
  if (json.contains("tasks"))
    for (Json& task : json["tasks"]) task.erase("loglikelihoods");
  if (json.contains("reference")) json["reference"].erase("per_window");
  return json;
}

std::string with_error(const Json& value, const Json& error) {
  return fmt::format("{} ({})", number(value), number(error));
}

void print_tasks(const Json& json) {
  fmt::print("{}: right answers without examples, BOS {}\n  {:<16} {:>7} {:>18} {:>18}\n",
             json.at("model").get<std::string>(), json.at("bos").get<std::string>(), "task", "rows", "acc", "acc_norm");
  for (const auto& task : json.at("tasks").items()) {
    const auto share = [&](const char* key, const char* error) {
      return task.value().at(key).is_null() ? "-" : with_error(task.value().at(key), task.value().at(error));
    };
    fmt::print("  {:<16} {:>7} {:>18} {:>18}\n", task.key(), task.value().at("rows").get<int64_t>(),
               share("acc", "acc_se"), share("acc_norm", "acc_norm_se"));
  }
  if (json.at("tasks").size() > 1) fmt::print("  {:<16} {:>7} {:>18}\n", "mean", "", number(json.at("mean_acc")));
}

void print_perplexity(const Json& json) {
  fmt::print("{}: {} windows of {} tokens (of {}) of {}, BOS {}\n", json.at("model").get<std::string>(),
             json.at("windows").get<int64_t>(), json.at("length").get<int64_t>(),
             json.at("windows_of_text").get<int64_t>(), json.at("text").at("file").get<std::string>(),
             json.at("bos").get<std::string>());
  const auto row = [](const std::string& name, const std::string& value) { fmt::print("  {:<28} {}\n", name, value); };
  row("perplexity", with_error(json.at("perplexity"), json.at("perplexity_se")));
  row("  without position 0", number(json.at("perplexity_without_position0")));
  row("NLL a token (nats)", with_error(json.at("nll"), json.at("nll_se")));
  row("bits per byte", number(json.at("bits_per_byte")));
  if (!json.contains("reference")) return;
  const auto difference = [&](const char* key, const char* error) {
    return fmt::format("{:+.4f} ({})", number_or_nan(json.at(key)), number(json.at(error)));
  };
  fmt::print("against {}, whose perplexity is {}\n", json.at("reference").at("model").get<std::string>(),
             number(json.at("reference").at("perplexity")));
  row("difference of NLL", difference("dnll", "dnll_se"));
  row("  without position 0", difference("dnll_without_position0", "dnll_without_position0_se"));
}

int evaluate(const Options& options, const Session& session) {
  const bool text = options.text.text.has_value();
  std::vector<TaskRows> tasks = tasks_of(options.tasks, session);
  if (!text && tasks.empty())
    fail_usage("there is nothing to evaluate: name a text with --text FILE, or a folder with --tasks DIR");
  if (!text && !options.reference.empty()) fail_usage("--reference compares perplexities: it needs --text FILE");
  if (options.resume && !options.out) fail_usage("--resume goes on with the result of --out FILE, which is missing");
  set_threads(session.threads);
  Subject subject = open_subject(options.model, options.as, options);
  std::optional<Reference> reference = open_reference(options, subject);
  subject.tasks = std::move(tasks);
  for (const TaskRows& rows : subject.tasks)
    subject.kept.tasks[std::string(rows.task->name)].file_sha256 = rows.file_sha256;
  if (options.resume) resume(options, subject, reference, session);
  prepare_products(options.dtype, subject.checkpoint->architecture(), session);

  const auto began = std::chrono::steady_clock::now();
  Evaluator(options, session, subject, reference).run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const Json result = result_of(subject, reference, seconds);
  if (options.out) {
    const fs::path file = out_file(*options.out);
    write_file(file, json_text(result) + "\n");
    fs::remove(partial_file(file));
  }
  if (session.json) {
    fmt::print("{}\n", json_text(figures_of(result)));
    return 0;
  }
  if (subject.windows) print_perplexity(result);
  if (!subject.tasks.empty()) print_tasks(result);
  if (options.out) fmt::print("{}\n", out_file(*options.out).string());
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("evaluate", "Measure a model: perplexity on a text, accuracy on multiple-choice tasks");
  command->footer(
      R"(Perplexity is exp(mean -log p of the next token) over windows of a text, as GPTQ's authors and those after them
measure it: the text is tokenized in one go, windows do not overlap, and position 0 counts (the figure without it stands
beside). Numbers in brackets are standard errors over windows or questions. Tasks are scored as lm-evaluation-harness
does it: the choice whose log-likelihood behind the question is the largest counts as the answer; acc_norm divides it by the
choice's characters first.

Examples:
  spikescope evaluate --model smollm2-135m --text wiki.test.raw.txt --length 512 --windows 40
  spikescope evaluate --model DIR --text wiki.test.raw.txt --out runs/mine        results/evaluate.json, with each window
  spikescope evaluate --model OTHER --text wiki.test.raw.txt --reference runs/mine/results/evaluate.json
  spikescope evaluate --model DIR --tasks tasks --rows 200 --out runs/mine --resume

A call that was stopped goes on with --resume; so does one that asks for more windows or rows than are there.)");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  add_window_options(*command, options->text, "Perplexity", "Text file");
  command
      ->add_option("--reference", options->reference,
                   "Compare window by window with another model, or with FILE.json of an earlier --out")
      ->group("Perplexity");
  add_task_options(*command, options->tasks);
  add_bos_option(*command, options->bos);
  add_dtype_option(*command, options->dtype);
  command
      ->add_option("--batch", options->batch_tokens,
                   "Tokens of a pass, about: more reads the weights less often, and takes more memory")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--out", options->out, "Keep the result in FILE.json, or in DIR/results/evaluate.json");
  command->add_flag("--resume", options->resume,
                    "Measure only what the result in --out does not have yet; the settings have to be the same");
  command->callback(
      [options, &session] { session.action = [options, &session] { return evaluate(*options, session); }; });
}

}  // namespace spikescope
