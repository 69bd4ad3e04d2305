#include "quant/zero_shot.h"

#include <algorithm>
#include <cmath>

#include "analyses/labels.h"
#include "base/fail.h"
#include "base/utf8.h"
#include "model/runner.h"
#include "quant/batch_progress.h"
#include "quant/prefix.h"
#include "text/characters.h"

namespace spikescope {
namespace {

/// `prefix`: so many tokens stand in front of each choice.
std::vector<ChoiceIds> encode_question(const ZeroShot& model, const TaskRows& rows, size_t question, size_t prefix) {
  std::vector<ChoiceIds> choices;
  int64_t context = model.weights.architecture().context_length;
  if (context > 0) context = std::max<int64_t>(1, context - static_cast<int64_t>(prefix));
  for (const Choice& choice : rows.questions[question].choices) {
    try {
      choices.push_back(encode_choice(choice, model.tokenizer, model.bos, context));
    } catch (const Error& error) {
      fail("{}, question {}: {}", rows.task->name, question, error.what());
    }
  }
  return choices;
}

void check_finite(const ChoiceScores& scores, const TaskRows& rows, size_t question) {
  for (size_t choice = 0; choice < scores.size(); ++choice)
    if (!std::isfinite(scores[choice]))
      fail("{}, question {}: the log-likelihood of choice {} is {}: the logits overflow float32", rows.task->name,
           question, choice, scores[choice]);
}

size_t largest(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

ChoiceIds encode_choice(const Choice& choice, const Tokenizer& tokenizer, std::optional<int64_t> bos, int64_t most) {
  size_t end = 0;  // of the context without the space at its end
  for (size_t at = 0; at < choice.context.size();)
    if (!is_whitespace(next_character(choice.context, at))) end = at;
  const std::vector<int64_t> whole = tokenizer.encode(choice.context + choice.continuation, false);
  ChoiceIds ids;
  ids.context = tokenizer.encode(choice.context.substr(0, end), false);
  if (ids.context.size() >= whole.size())
    fail("'{}' is not one token more than what comes before it", choice.continuation);
  ids.continuation.assign(whole.begin() + static_cast<int64_t>(ids.context.size()), whole.end());
  if (bos) ids.context.insert(ids.context.begin(), *bos);
  if (ids.context.empty()) fail("there is nothing before '{}'; --bos always puts a BOS there", choice.continuation);
  const auto size = static_cast<int64_t>(ids.continuation.size());
  const int64_t too_many = most > 0 ? static_cast<int64_t>(ids.context.size()) + size - (most + 1) : 0;
  if (too_many >= static_cast<int64_t>(ids.context.size()))
    fail("a choice of {} tokens does not fit the model's context of {}", size, most);
  if (too_many > 0) ids.context.erase(ids.context.begin(), ids.context.begin() + too_many);
  return ids;
}

void score_questions(const ZeroShot& model, const TaskRows& rows, std::vector<ChoiceScores>& scores,
                     const EvaluationPass& pass) {
  const size_t begin = scores.size(), count = rows.questions.size();
  const auto share = [&](size_t some) { return static_cast<double>(some) / static_cast<double>(count - begin); };
  while (scores.size() < count) {
    const size_t first = scores.size();
    QuestionBatch batch;
    for (size_t next = first; next < count && (next == first || batch.rows() < pass.batch_tokens); ++next)
      batch.add(encode_question(model, rows, next, pass.prefix.size()));
    const TokenBatch tokens = with_prefix(batch.tokens(), pass.prefix);
    Hooks hooks;
    if (pass.attach) pass.attach(hooks, tokens);
    BatchProgress observer(pass, share(first - begin), share(static_cast<size_t>(batch.questions())));
    RunOptions options;
    options.predictions = batch.predictions();
    options.int8 = pass.int8;
    const std::vector<int64_t> places = own_rows(prefix_rows(tokens, pass.prefix.size()));
    for (Prediction& prediction : options.predictions) prediction.row = places[static_cast<size_t>(prediction.row)];
    for (ChoiceScores& found : batch.scores(run_model(model.weights, tokens, hooks, observer, options).losses)) {
      check_finite(found, rows, scores.size());
      scores.push_back(std::move(found));
    }
    if (pass.kept) pass.kept();
  }
}

Json task_json(const TaskRows& rows, const std::vector<ChoiceScores>& scores) {
  int64_t right = 0, right_by_character = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const Question& question = rows.questions[i];
    const auto label = static_cast<size_t>(question.label);
    std::vector<double> by_character = scores[i];
    for (size_t choice = 0; choice < by_character.size(); ++choice)
      by_character[choice] /= static_cast<double>(question.choices[choice].characters);
    right += largest(scores[i]) == label;
    right_by_character += largest(by_character) == label;
  }
  const auto n = static_cast<double>(scores.size());
  const auto share = [&](int64_t count) { return number_or_null(static_cast<double>(count) / n); };
  const auto error = [&](int64_t count) {  // of the mean of zeros and ones
    const double mean = static_cast<double>(count) / n;
    return number_or_null(std::sqrt(mean * (1.0 - mean) / (n - 1.0)));
  };
  const bool one_continuation = rows.task->fills_blank;
  return {{"acc", share(right)},
          {"acc_se", error(right)},
          {"acc_norm", one_continuation ? Json(nullptr) : share(right_by_character)},
          {"acc_norm_se", one_continuation ? Json(nullptr) : error(right_by_character)},
          {"rows", scores.size()}};
}

double mean_accuracy(const Json& tasks) {
  double sum = 0.0;
  for (const Json& task : tasks) sum += task.at("acc").get<double>();
  return sum / static_cast<double>(tasks.size());
}

Json zero_shot_json(const ZeroShot& model, std::span<const TaskRows> tasks, const EvaluationPass& pass) {
  double all = 0.0, done = 0.0, squares = 0.0;
  for (const TaskRows& rows : tasks) all += static_cast<double>(rows.questions.size());
  Json by_name = Json::object();
  for (const TaskRows& rows : tasks) {
    EvaluationPass part = pass;
    const auto questions = static_cast<double>(rows.questions.size());
    if (pass.progress)
      part.progress = [&pass, before = done / all, share = questions / all](double fraction) {
        pass.progress(before + fraction * share);
      };
    std::vector<ChoiceScores> scores;
    score_questions(model, rows, scores, part);
    done += questions;
    Json task = task_json(rows, scores);
    const double error = number_or_nan(task.at("acc_se"));
    squares += error * error;
    by_name[std::string(rows.task->name)] = std::move(task);
  }
  const double error = std::sqrt(squares) / static_cast<double>(tasks.size());
  return {{"average", number_or_null(mean_accuracy(by_name))},
          {"average_se", number_or_null(error)},
          {"tasks", std::move(by_name)}};
}

}  // namespace spikescope
