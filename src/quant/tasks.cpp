#include "quant/tasks.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/fail.h"
#include "base/nearest.h"
#include "base/utf8.h"
#include "io/json.h"
#include "io/output_file.h"
#include "io/sha256.h"
#include "text/characters.h"

namespace spikescope {
namespace {

constexpr std::string_view kQuestion = "{question}";
constexpr char kBlank = '_';

constexpr Task kTasks[] = {
    {"arc_easy", "ARC-Easy", "Question: {question}\nAnswer:"},
    {"arc_challenge", "ARC-Challenge", "Question: {question}\nAnswer:"},
    {"piqa", "PIQA", "Question: {question}\nAnswer:"},
    {"social_i_qa", "Social IQa", "Q: {question}\nA:"},
    {"openbookqa", "OpenBookQA", "{question}"},
    {"winogrande", "WinoGrande", "{question}", true},
};

int64_t characters_of(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) next_character(text, at);
  return count;
}

std::string_view without_outer_space(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    if (is_whitespace(next_code_point(text, at))) continue;
    begin = std::min(begin, here);
    end = at;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

Choice make_choice(const Task& task, const std::string& question, const std::string& choice) {
  const int64_t characters = characters_of(choice);
  std::string prompt(task.prompt);
  if (!task.fills_blank)
    return {prompt.replace(prompt.find(kQuestion), kQuestion.size(), question), " " + choice, characters};
  const size_t blank = question.find(kBlank);
  return {question.substr(0, blank) + choice,
          " " + std::string(without_outer_space(std::string_view(question).substr(blank + 1))), characters};
}

Question read_row(const Task& task, std::string_view line, const std::string& where) {
  const Json row = parse_json(line, where);
  if (!row.is_object()) fail("{}: {}; expected an object with question, choices, label", where, row.type_name());
  const auto question = json_get<std::string>(row, "question", where);
  if (without_outer_space(question).empty()) fail("{}: the question is empty", where);
  const auto choices = row.find("choices");
  if (choices == row.end() || !choices->is_array() || choices->size() < 2)
    fail("{}: \"choices\" is missing or no array of two or more texts", where);
  Question result;
  result.label = json_get<int64_t>(row, "label", where);
  if (result.label < 0 || result.label >= static_cast<int64_t>(choices->size()))
    fail("{}: the label is {}, but the {} choices count from 0", where, result.label, choices->size());
  if (task.fills_blank) {
    const size_t blank = question.find(kBlank);
    if (blank == question.npos || without_outer_space(std::string_view(question).substr(blank + 1)).empty())
      fail("{}: the question has no '{}' with text behind it, which a choice is to fill", where, kBlank);
  }
  for (const Json& choice : *choices) {
    if (!choice.is_string() || choice.get_ref<const std::string&>().empty())
      fail("{}: a choice is a {} or empty; expected a text", where, choice.type_name());
    result.choices.push_back(make_choice(task, question, choice.get<std::string>()));
  }
  return result;
}

}  // namespace

std::span<const Task> tasks() { return kTasks; }

const Task& find_task(const std::string& name) {
  std::vector<std::string> names;
  for (const Task& task : kTasks) {
    if (task.name == name) return task;
    names.emplace_back(task.name);
  }
  const std::string nearest = nearest_name(name, names);
  fail_usage("there is no task '{}'{}; there are {}", name,
             nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest), fmt::join(names, ", "));
}

TaskRows read_task(const Task& task, const std::filesystem::path& folder, std::optional<int64_t> rows) {
  const std::filesystem::path file = folder / fmt::format("{}.jsonl", task.name);
  const std::string content = read_file(file);
  TaskRows result{&task, sha256_file(file)};
  std::string_view rest = content;
  for (int64_t line = 1; !rest.empty() && static_cast<int64_t>(result.questions.size()) < rows.value_or(INT64_MAX);
       ++line) {
    const size_t end = rest.find('\n');
    const std::string_view text = without_outer_space(rest.substr(0, end));
    rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
    if (!text.empty())
      result.questions.push_back(read_row(task, text, fmt::format("{}, line {}", file.string(), line)));
  }
  if (result.questions.empty()) fail("{}: there is no row in this file", file.string());
  return result;
}

TaskFolder read_tasks(const std::filesystem::path& folder, std::span<const std::string> names,
                      std::optional<int64_t> rows) {
  TaskFolder read;
  for (const std::string& name : names) {
    const Task& task = find_task(name);
    if (std::none_of(read.tasks.begin(), read.tasks.end(), [&](const TaskRows& there) { return there.task == &task; }))
      read.tasks.push_back(read_task(task, folder, rows));
  }
  if (!names.empty()) return read;
  for (const Task& task : kTasks) {
    if (std::filesystem::exists(folder / fmt::format("{}.jsonl", task.name)))
      read.tasks.push_back(read_task(task, folder, rows));
    else
      read.missing.push_back(&task);
  }
  if (read.tasks.empty()) fail("{}: there is no file of a task here ({}.jsonl, ...)", folder.string(), kTasks[0].name);
  return read;
}

}  // namespace spikescope
