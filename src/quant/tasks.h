// Multiple-choice tasks as lm-evaluation-harness 0.4.13 puts them, without examples before the question. A task's rows
// lie in a file of JSON lines: {"question": ..., "choices": [...], "label": index of the right one}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

struct Task {
  std::string_view name;    ///< its file is FOLDER/<name>.jsonl
  std::string_view title;   ///< as people call it
  std::string_view prompt;  ///< "{question}" stands for the row's question
  /// The question holds a `_`, which each choice takes the place of; what follows is scored behind it, the same for all
  /// choices (partial evaluation, arXiv 1806.02847). Otherwise the choice itself is scored behind the prompt.
  bool fills_blank = false;
};

/// All tasks, in the order in which they are listed.
std::span<const Task> tasks();
/// Throws UsageError, with the names there are, for a name that no task has.
const Task& find_task(const std::string& name);

/// What is scored: log p(continuation | context).
struct Choice {
  std::string context, continuation;  ///< the continuation begins with a space
  int64_t characters = 0;             ///< of the choice alone: what acc_norm divides by
};
struct Question {
  std::vector<Choice> choices;
  int64_t label = 0;  ///< index of the right one
};
struct TaskRows {
  const Task* task = nullptr;
  std::string file_sha256 = {};
  std::vector<Question> questions = {};
};

/// Reads the first `rows` rows of a task's file (nothing: all; there may be fewer). Throws Error for a file that is
/// missing or has no rows, and, naming file and line, for a row that is not as said above.
TaskRows read_task(const Task& task, const std::filesystem::path& folder, std::optional<int64_t> rows);

/// Tasks of a folder, and those that have no file there.
struct TaskFolder {
  std::vector<TaskRows> tasks;
  std::vector<const Task*> missing;
};
/// Reads the tasks of these names, each once; without names all whose files are there, one at least. Throws as
/// find_task and read_task do, and Error for a folder without any task.
TaskFolder read_tasks(const std::filesystem::path& folder, std::span<const std::string> names,
                      std::optional<int64_t> rows);

}  // namespace spikescope
