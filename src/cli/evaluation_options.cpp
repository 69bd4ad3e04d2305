#include "cli/evaluation_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fail.h"

namespace spikescope {
namespace {

/// Tokens of a window where the user names none: GPTQ's, as far as the model's context goes.
constexpr int64_t kUsualLength = 2048;

std::string default_text(std::optional<int64_t> value, const char* otherwise) {
  return fmt::format(" (default: {})", value ? std::to_string(*value) : otherwise);
}

}  // namespace

void add_window_options(CLI::App& command, WindowOptions& options, const std::string& group, const std::string& what,
                        const std::string& prefix) {
  const std::string dash = prefix.empty() ? "" : prefix + "-";
  command
      .add_option("--" + (prefix.empty() ? "text" : prefix), options.text,
                  what + ": tokenized in one go, cut into windows that do not overlap")
      ->group(group);
  command
      .add_option("--" + dash + "length", options.length,
                  "Tokens a window, a BOS included" +
                      default_text(options.length, "2048 as GPTQ has it, or the model's context where that is less"))
      ->group(group);
  command
      .add_option("--" + dash + "windows", options.windows,
                  "Windows from the text's beginning" + default_text(options.windows, "all"))
      ->group(group);
}

TextWindows windows_of(const WindowOptions& options, const Architecture& architecture, const Tokenizer& tokenizer,
                       std::optional<int64_t> bos, int64_t prefix) {
  const int64_t context = architecture.context_length > 0 ? architecture.context_length : INT64_MAX;
  const int64_t length = options.length.value_or(std::min(kUsualLength, context - prefix));
  if (length > context - prefix)
    fail_usage("windows of {} tokens: the model's context is {}{}; lower --length", length, context,
               prefix > 0 ? fmt::format(", of which its prefix takes {}", prefix) : "");
  return read_windows(*options.text, tokenizer, bos, length, options.windows);
}

void add_task_options(CLI::App& command, TaskOptions& options) {
  const std::string group = "Zero-shot";
  std::string names;
  for (const Task& task : tasks()) names += fmt::format("{}{}", names.empty() ? "" : ", ", task.name);
  command
      .add_option("--tasks", options.folder,
                  "Folder with multiple-choice tasks, TASK.jsonl: question, choices, label a line")
      ->group(group);
  command
      .add_option("--task", options.names, fmt::format("One of {} (repeatable; default: all that are there)", names))
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--rows", options.rows,
                  "Questions of each task, from its beginning" + default_text(options.usual_rows, "all"))
      ->check(CLI::PositiveNumber)
      ->group(group);
}

std::vector<TaskRows> tasks_of(const TaskOptions& options, const Session& session) {
  if (!options.folder && (!options.names.empty() || options.rows))
    fail_usage("--task and --rows choose from the files of --tasks DIR, which is missing");
  if (!options.folder) return {};
  TaskFolder read = read_tasks(*options.folder, options.names, options.rows ? options.rows : options.usual_rows);
  for (const Task* task : read.missing)
    note(session, fmt::format("no {}.jsonl in {}: {} is left out", task->name, options.folder->string(), task->title));
  return std::move(read.tasks);
}

}  // namespace spikescope
