#include "quant/question_batch.h"

#include <algorithm>

namespace spikescope {
namespace {

/// All but the last token.
std::vector<int64_t> inputs_of(const ChoiceIds& choice) {
  std::vector<int64_t> ids = choice.context;
  ids.insert(ids.end(), choice.continuation.begin(), choice.continuation.end() - 1);
  return ids;
}

/// Number of ids that all begin with.
int64_t common_beginning(const std::vector<std::vector<int64_t>>& inputs) {
  size_t count = inputs[0].size();
  for (const std::vector<int64_t>& ids : inputs) {
    count = std::min(count, ids.size());
    count = static_cast<size_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<int64_t>(count), inputs[0].begin()).first - ids.begin());
  }
  return static_cast<int64_t>(count);
}

}  // namespace

/// Returns the prompt's first row.
int64_t QuestionBatch::add_prompt(std::span<const int64_t> ids, int64_t parent) {
  const int64_t row = rows();
  if (ids.empty()) return row;
  tokens_.ids.insert(tokens_.ids.end(), ids.begin(), ids.end());
  tokens_.offsets.push_back(rows());
  tokens_.parents.push_back(parent);
  return row;
}

void QuestionBatch::add(const std::vector<ChoiceIds>& choices) {
  std::vector<std::vector<int64_t>> inputs;
  for (const ChoiceIds& choice : choices) inputs.push_back(inputs_of(choice));
  const int64_t shared = common_beginning(inputs);
  const int64_t parent = shared > 0 ? static_cast<int64_t>(tokens_.parents.size()) : -1;
  const int64_t shared_row = add_prompt(std::span(inputs[0]).first(static_cast<size_t>(shared)), -1);
  for (size_t choice = 0; choice < choices.size(); ++choice) {
    const auto& [context, continuation] = choices[choice];
    const int64_t own_row = add_prompt(std::span(inputs[choice]).subspan(static_cast<size_t>(shared)), parent);
    for (size_t i = 0; i < continuation.size(); ++i) {
      const auto position = static_cast<int64_t>(context.size() + i) - 1;  // which predicts it
      const int64_t row = position < shared ? shared_row + position : own_row + position - shared;
      parts_.push_back({{row, continuation[i]}, choices_.size(), choice});
    }
  }
  choices_.push_back(choices.size());
}

std::vector<Prediction> QuestionBatch::predictions() {
  std::stable_sort(parts_.begin(), parts_.end(),
                   [](const Part& a, const Part& b) { return a.prediction.row < b.prediction.row; });
  std::vector<Prediction> predictions;
  for (const Part& part : parts_) predictions.push_back(part.prediction);
  return predictions;
}

std::vector<std::vector<double>> QuestionBatch::scores(std::span<const float> losses) const {
  std::vector<std::vector<double>> scores;
  for (const size_t choices : choices_) scores.emplace_back(choices, 0.0);
  for (size_t i = 0; i < parts_.size(); ++i) scores[parts_[i].question][parts_[i].choice] -= losses[i];
  return scores;
}

}  // namespace spikescope
