// Multiple choice without examples: which continuation does the model find most likely?
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/json.h"
#include "model/weights.h"
#include "quant/evaluation_pass.h"
#include "quant/question_batch.h"
#include "quant/tasks.h"
#include "text/tokenizer.h"

namespace spikescope {

/// Tokenizes as lm-evaluation-harness does: space at the context's end goes over to the continuation; context and
/// continuation are tokenized as one text, and what follows as many ids as the context alone has is the continuation.
/// `bos`, where there is one, comes before the context. Of more than `most` ids and the one predicted last the first
/// are dropped (0: no limit). Throws Error for a continuation that is left without ids, or that is too long by itself.
ChoiceIds encode_choice(const Choice& choice, const Tokenizer& tokenizer, std::optional<int64_t> bos, int64_t most);

/// Log-likelihoods of the choices of one question, in nats.
using ChoiceScores = std::vector<double>;

/// What is asked of a model: the tokenizer's BOS as encode_choice() takes it.
struct ZeroShot {
  const ModelWeights& weights;
  const Tokenizer& tokenizer;
  std::optional<int64_t> bos;
};

/// Appends to `scores` those of the questions from scores.size() on. Throws Error as encode_choice and run_model do,
/// and for likelihoods that are not numbers, naming task and question (from 0).
void score_questions(const ZeroShot& model, const TaskRows& rows, std::vector<ChoiceScores>& scores,
                     const EvaluationPass& pass);

/// acc: share of questions whose right choice has the largest log-likelihood (the first of several); acc_norm: divided
/// by the choice's characters (null where all choices have the same continuation); acc_se, acc_norm_se: standard errors
/// over questions; rows.
Json task_json(const TaskRows& rows, const std::vector<ChoiceScores>& scores);

/// Tokens of a question, as a guess from which the time left is told.
inline constexpr double kTokensOfAQuestion = 64.0;

/// Mean of `acc` over tasks, from their task_json by name; NaN where there are none.
double mean_accuracy(const Json& tasks);

/// All questions of all tasks: {average, average_se, tasks: {name: task_json}}; the standard error of the average takes
/// tasks as independent.
Json zero_shot_json(const ZeroShot& model, std::span<const TaskRows> tasks, const EvaluationPass& pass);

}  // namespace spikescope
