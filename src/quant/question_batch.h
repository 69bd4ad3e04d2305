// Multiple-choice questions as one pass: what the choices of a question have in common goes through the model once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/batch.h"
#include "model/head.h"

namespace spikescope {

/// A choice as token ids.
struct ChoiceIds {
  std::vector<int64_t> context, continuation;
};

/// Questions that go through the model together. The last token of a choice predicts nothing and is left out.
class QuestionBatch {
 public:
  /// Adds a question. The ids that all choices begin with become a prompt, and what each has of its own another that
  /// goes on from it (TokenBatch::parents).
  void add(const std::vector<ChoiceIds>& choices);

  const TokenBatch& tokens() const { return tokens_; }
  int64_t rows() const { return static_cast<int64_t>(tokens_.ids.size()); }
  int64_t questions() const { return static_cast<int64_t>(choices_.size()); }
  /// What the choices' continuations consist of, by ascending row: RunOptions::predictions.
  std::vector<Prediction> predictions();
  /// Log-likelihoods of the continuations, [questions][choices], from what the predictions cost.
  std::vector<std::vector<double>> scores(std::span<const float> losses) const;

 private:
  struct Part {
    Prediction prediction;
    size_t question, choice;
  };
  int64_t add_prompt(std::span<const int64_t> ids, int64_t parent);

  TokenBatch tokens_{{}, {0}};
  std::vector<Part> parts_;
  std::vector<size_t> choices_;  // of each question
};

}  // namespace spikescope
