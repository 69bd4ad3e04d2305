#include "quant/zero_shot.h"

#include <gmock/gmock.h>

#include "../error_of.h"
#include "../fixtures.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "model/runner.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kRow = R"({"question": "Is it warm", "choices": ["yes it is", "no", "yes it was"], "label": 2})";

class Tasks : public ::testing::Test {
 protected:
  TaskRows read(const std::string& task, const std::string& content, std::optional<int64_t> rows = {}) const {
    testing::write_text(folder_ / (task + ".jsonl"), content);
    return read_task(find_task(task), folder_.path(), rows);
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Tasks, MakePromptsAsTheTableSays) {
  const std::string rows = std::string(kRow) + "\n\n" + kRow + "\r\n" + kRow;
  for (const auto& [task, context] : {std::pair("arc_easy", "Question: Is it warm\nAnswer:"),
                                      {"arc_challenge", "Question: Is it warm\nAnswer:"},
                                      {"piqa", "Question: Is it warm\nAnswer:"},
                                      {"social_i_qa", "Q: Is it warm\nA:"},
                                      {"openbookqa", "Is it warm"}}) {
    const TaskRows read_rows = read(task, rows);
    ASSERT_THAT(read_rows.questions, SizeIs(3)) << task;
    const Question& question = read_rows.questions[2];
    ASSERT_THAT(question.choices, SizeIs(3));
    EXPECT_EQ(question.label, 2);
    EXPECT_EQ(question.choices[0].context, context);
    EXPECT_EQ(question.choices[0].continuation, " yes it is");
    EXPECT_EQ(question.choices[0].characters, 9);
  }
  EXPECT_THAT(read("piqa", rows, 2).questions, SizeIs(2));
  EXPECT_THAT(read("piqa", rows, 9).questions, SizeIs(3));

  const TaskRows blank =
      read("winogrande", R"({"question": "So _ went  home early. ", "choices": ["Zoë", "Al"], "label": 0})");
  EXPECT_EQ(blank.questions[0].choices[0].context, "So Zoë");
  EXPECT_EQ(blank.questions[0].choices[1].context, "So Al");
  EXPECT_EQ(blank.questions[0].choices[1].continuation, " went  home early.");
  EXPECT_EQ(blank.questions[0].choices[0].characters, 3) << "characters, not bytes";
}

TEST_F(Tasks, NameFileAndLineOfWhatIsWrong) {
  const auto error = [&](const std::string& row, const char* task = "piqa") {
    return error_of([&] { read(task, std::string(kRow) + "\n" + row); });
  };
  const std::string winogrande = R"({"question": "So _ went", "choices": ["a", "b"], "label": 0})";
  EXPECT_THAT(error("{"), HasSubstr("piqa.jsonl, line 2"));
  EXPECT_THAT(error("[]"), HasSubstr("line 2: array; expected an object"));
  EXPECT_THAT(error(R"({"choices": ["a", "b"], "label": 0})"), HasSubstr("question"));
  EXPECT_THAT(error(R"({"question": " ", "choices": ["a", "b"], "label": 0})"), HasSubstr("the question is empty"));
  EXPECT_THAT(error(R"({"question": "q", "choices": ["a"], "label": 0})"), HasSubstr("two or more"));
  EXPECT_THAT(error(R"({"question": "q", "choices": ["a", 5], "label": 0})"), HasSubstr("a choice is a number"));
  EXPECT_THAT(error(R"({"question": "q", "choices": ["a", "b"], "label": 2})"), HasSubstr("the label is 2"));
  EXPECT_THAT(error(R"({"question": "q", "choices": ["a", "b"], "label": "A"})"), HasSubstr("label"));
  EXPECT_THAT(error_of([&] { read("winogrande", R"({"question": "So", "choices": ["a", "b"], "label": 0})"); }),
              HasSubstr("has no '_'"));
  EXPECT_THAT(error_of([&] { read("winogrande", R"({"question": "So _ ", "choices": ["a", "b"], "label": 0})"); }),
              HasSubstr("with text behind it"));
  EXPECT_THAT(error_of([&] { read("piqa", "\n \n"); }), HasSubstr("there is no row"));
  EXPECT_THAT(error_of([&] { read_task(find_task("arc_easy"), folder_.path(), {}); }), HasSubstr("arc_easy.jsonl"));
  EXPECT_THAT(error_of([] { find_task("arc_esay"); }), HasSubstr("did you mean 'arc_easy'?"));
  EXPECT_THAT(error("\xff\xfe"), HasSubstr("line 2"));
}

class TinyZeroShot : public Tasks {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_ / "tiny");
    checkpoint_ = Checkpoint::open(folder_ / "tiny");
    tokenizer_.emplace(checkpoint_->tokenizer());
  }
  std::vector<ChoiceScores> score(const TaskRows& rows, const EvaluationPass& pass = {},
                                  std::vector<ChoiceScores> scores = {}) const {
    score_questions({checkpoint_->weights(), *tokenizer_, {}}, rows, scores, pass);
    return scores;
  }
  /// log p(continuation | context), each choice a prompt of its own.
  double expected(const Choice& choice) const {
    const ChoiceIds ids = encode_choice(choice, *tokenizer_, {}, 0);
    TokenBatch batch{ids.context, {0}};
    batch.ids.insert(batch.ids.end(), ids.continuation.begin(), ids.continuation.end());
    batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
    PassObserver none;
    const std::vector<float> losses = run_model(checkpoint_->weights(), batch, {}, none, {.losses = true}).losses;
    double sum = 0.0;
    for (size_t i = ids.context.size(); i < batch.ids.size(); ++i) sum -= losses[i - 1];
    return sum;
  }
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(TinyZeroShot, MovesSpaceToTheContinuation) {
  const ChoiceIds ids = encode_choice({"ab \n", "cd", 2}, *tokenizer_, {}, 0);
  EXPECT_THAT(ids.context, ElementsAre(33, 34));
  EXPECT_EQ(ids.continuation, tokenizer_->encode(" \ncd", false));
  EXPECT_THAT(encode_choice({"ab", " c", 1}, *tokenizer_, 7, 0).context, ElementsAre(7, 33, 34));
  // What goes in and what is predicted last: four ids and one.
  const ChoiceIds cut = encode_choice({"abcd", " e", 1}, *tokenizer_, {}, 4);
  EXPECT_THAT(cut.context, ElementsAre(34, 35, 36));
  EXPECT_THAT(cut.continuation, ElementsAre(62, 37));
  EXPECT_THAT(error_of([&] {
                encode_choice({"ab", " cdef", 4}, *tokenizer_, {}, 4);
              }),
              HasSubstr("5 tokens does not fit the model's context of 4"));
  EXPECT_THAT(error_of([&] { encode_choice({"", " c", 1}, *tokenizer_, {}, 0); }), HasSubstr("--bos always"));
}

TEST(QuestionBatch, ComputesWhatChoicesShareOnce) {
  QuestionBatch batch;
  batch.add({{{1, 2, 3}, {4, 5}}, {{1, 2, 3}, {4, 6, 7}}, {{1, 2, 3}, {8}}});  // shared: 1 2 3
  EXPECT_THAT(batch.tokens().ids, ElementsAre(1, 2, 3, 4, 4, 6)) << "last tokens predict nothing";
  EXPECT_THAT(batch.tokens().offsets, ElementsAre(0, 3, 4, 6)) << "the last choice has no rows of its own";
  EXPECT_THAT(batch.tokens().parents, ElementsAre(-1, 0, 0));
  batch.add({{{9}, {1}}, {{8}, {1}}});  // nothing shared
  EXPECT_THAT(batch.tokens().parents, ElementsAre(-1, 0, 0, -1, -1));
  EXPECT_EQ(batch.rows(), 8);
  EXPECT_EQ(batch.questions(), 2);
  const std::vector<Prediction> predictions = batch.predictions();
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (const Prediction& p : predictions) pairs.emplace_back(p.row, p.id);
  EXPECT_THAT(pairs, ElementsAre(std::pair(2, 4), std::pair(2, 4), std::pair(2, 8), std::pair(3, 5), std::pair(4, 6),
                                 std::pair(5, 7), std::pair(6, 1), std::pair(7, 1)));
  const std::vector<float> losses = {1, 1, 2, 4, 8, 16, 32, 64};
  EXPECT_THAT(batch.scores(losses), ElementsAre(ElementsAre(-5, -25, -2), ElementsAre(-32, -64)));
}

TEST_F(TinyZeroShot, ScoresWhatWholePromptsGive) {
  const std::string rows =
      std::string(kRow) + "\n" + R"({"question": "Why", "choices": ["a", "b"], "label": 0})" + "\n" + kRow;
  const std::string blanks = R"({"question": "So _ went. And", "choices": ["Al", "Bo"], "label": 0})"
                             "\n"
                             R"({"question": "_ is it.", "choices": ["Al", "Bo"], "label": 1})";
  for (const TaskRows& task : {read("arc_easy", rows), read("winogrande", blanks)}) {
    const std::vector<ChoiceScores> scores = score(task);
    ASSERT_THAT(scores, SizeIs(task.questions.size()));
    for (size_t q = 0; q < scores.size(); ++q) {
      ASSERT_THAT(scores[q], SizeIs(task.questions[q].choices.size()));
      for (size_t c = 0; c < scores[q].size(); ++c)
        EXPECT_NEAR(scores[q][c], expected(task.questions[q].choices[c]), 1e-4) << task.task->name << q << " " << c;
    }
    int passes = 0;
    const std::vector<ChoiceScores> one_by_one = score(task, {.batch_tokens = 1, .kept = [&] { ++passes; }});
    EXPECT_EQ(passes, static_cast<int>(task.questions.size()));
    EXPECT_EQ(one_by_one, scores) << "to the bit";
    passes = 0;
    const std::vector<ChoiceScores> rest = score(task, {.kept = [&] { ++passes; }}, {{0.0, 1.0}});
    EXPECT_EQ(passes, 1);
    EXPECT_THAT(rest[0], ElementsAre(0.0, 1.0)) << "what is there is kept";
    EXPECT_EQ(rest.back(), scores.back());
  }
  // Behind a prefix each choice costs what it costs behind a context with the prefix in front.
  const TaskRows asked = read("arc_easy", rows);
  const std::vector<ChoiceScores> behind = score(asked, {.prefix = {1, 5}});
  for (size_t q = 0; q < behind.size(); ++q)
    for (size_t c = 0; c < behind[q].size(); ++c) {
      Choice choice = asked.questions[q].choices[c];
      choice.context = "AE" + choice.context;  // 1 and 5
      EXPECT_NEAR(behind[q][c], expected(choice), 1e-4) << q << " " << c;
    }
  EXPECT_NE(behind[0][0], score(asked)[0][0]);
  const auto breaks = [](Hooks& hooks, const TokenBatch& batch) {
    EXPECT_FALSE(batch.parents.empty());
    hooks.intervene("logits", [](const Activation& a) {
      for (int64_t row = 0; row < a.values.rows(); ++row) a.values.row(row)[0] = std::nanf("");
    });
  };
  EXPECT_THAT(error_of([&] { score(read("arc_easy", rows), {.attach = breaks}); }),
              HasSubstr("arc_easy, question 0: the log-likelihood of choice 0 is nan"));
}

TEST_F(Tasks, CountRightAnswers) {
  const TaskRows rows = read("arc_easy", std::string(kRow) + "\n" + kRow + "\n" + kRow + "\n" + kRow);
  // Characters: 9, 2, 10. The right one is the last.
  const std::vector<ChoiceScores> scores = {{-5, -4, -3}, {-10, -4, -9}, {-3, -9, -3}, {-9, -3, -10}};
  const Json json = task_json(rows, scores);
  EXPECT_DOUBLE_EQ(json.at("acc"), 0.25) << "of equal ones the first counts";
  EXPECT_DOUBLE_EQ(json.at("acc_norm"), 0.75);
  EXPECT_DOUBLE_EQ(json.at("acc_se"), std::sqrt(0.25 * 0.75 / 3));
  EXPECT_EQ(json.at("rows"), 4);
  const TaskRows blank = read("winogrande", R"({"question": "So _ went", "choices": ["a", "b"], "label": 0})");
  EXPECT_TRUE(task_json(blank, {{-1, -2}}).at("acc_norm").is_null());
}

TEST_F(Tasks, OfAFolder) {
  EXPECT_THAT(error_of([&] { read_tasks(folder_.path(), {}, {}); }), HasSubstr("no file of a task here (arc_easy"));
  for (const char* task : {"piqa", "openbookqa"}) read(task, std::string(kRow) + "\n" + kRow);
  const TaskFolder all = read_tasks(folder_.path(), {}, 1);
  ASSERT_THAT(all.tasks, SizeIs(2));
  EXPECT_EQ(all.tasks[0].task->name, "piqa") << "in the order of the table";
  EXPECT_THAT(all.tasks[0].questions, SizeIs(1));
  EXPECT_THAT(all.missing, SizeIs(4));
  const std::vector<std::string> named = {"openbookqa", "openbookqa"};
  const TaskFolder one = read_tasks(folder_.path(), named, {});
  EXPECT_THAT(one.tasks, SizeIs(1));
  EXPECT_THAT(one.missing, SizeIs(0));
  const std::vector<std::string> missing = {"winogrande"};
  EXPECT_THAT(error_of([&] { read_tasks(folder_.path(), missing, {}); }), HasSubstr("winogrande.jsonl"));
}

TEST_F(TinyZeroShot, AveragesOverTasks) {
  const std::string other = R"({"question": "Why", "choices": ["a", "b"], "label": 0})";
  const std::vector<TaskRows> two = {read("piqa", std::string(kRow) + "\n" + other + "\n" + other),
                                     read("openbookqa", other + "\n" + kRow)};
  std::vector<double> fractions;
  const ZeroShot model{checkpoint_->weights(), *tokenizer_, {}};
  const Json json = zero_shot_json(model, two, {.progress = [&](double f) { fractions.push_back(f); }});
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_DOUBLE_EQ(fractions.back(), 1.0);
  double sum = 0.0, squares = 0.0;
  for (const TaskRows& rows : two) {
    const Json& task = json.at("tasks").at(std::string(rows.task->name));
    EXPECT_EQ(task, task_json(rows, score(rows)));
    sum += task.at("acc").get<double>();
    squares += std::pow(task.at("acc_se").get<double>(), 2);
  }
  EXPECT_DOUBLE_EQ(json.at("average"), sum / 2);
  EXPECT_DOUBLE_EQ(json.at("average_se"), std::sqrt(squares) / 2);
  EXPECT_DOUBLE_EQ(mean_accuracy(json.at("tasks")), sum / 2);
  EXPECT_TRUE(std::isnan(mean_accuracy(Json::object())));
}

/// lm-evaluation-harness 0.4.13 on SmolLM2-135M-Instruct.
TEST(SmolLM2ZeroShot, AgreesWithTheHarness) {
  SKIP_WITHOUT_SMOLLM2();
  SKIP_WITHOUT_SHARED("fixtures/lm_eval_smollm2.json");
  SKIP_WITHOUT_SHARED("data/tasks/arc_easy.jsonl");
  const Json harness = read_json_file(testing::shared_folder() / "fixtures/lm_eval_smollm2.json");
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const Tokenizer tokenizer = checkpoint->tokenizer();
  constexpr int64_t kRows = 12;  // `spikescope evaluate --rows 200` compares them all: docs/evaluate.md
  for (const char* task : {"arc_easy", "piqa"}) {
    const TaskRows rows = read_task(find_task(task), testing::shared_folder() / "data/tasks", kRows);
    std::vector<ChoiceScores> scores;
    score_questions({checkpoint->weights(), tokenizer, {}}, rows, scores, {});
    const Json& expected = harness.at("loglikelihoods").at(task);
    ASSERT_THAT(scores, SizeIs(kRows));
    for (size_t q = 0; q < scores.size(); ++q)
      for (size_t c = 0; c < scores[q].size(); ++c)
        EXPECT_NEAR(scores[q][c], expected[q][c].get<double>(), 2e-3) << task << " " << q << " " << c;
  }
}

/// The tasks that the fixtures have no likelihoods of: each choice as a prompt of its own gives the same.
TEST(SmolLM2ZeroShot, ReadsAndScoresTheOtherTasks) {
  SKIP_WITHOUT_SMOLLM2();
  SKIP_WITHOUT_SHARED("data/tasks/winogrande.jsonl");
  const std::filesystem::path folder = testing::shared_folder() / "data/tasks";
  const auto checkpoint = Checkpoint::open(testing::smollm2_file());
  const Tokenizer tokenizer = checkpoint->tokenizer();
  constexpr int64_t kRows = 5;
  for (const char* task : {"arc_challenge", "openbookqa", "social_i_qa", "winogrande"}) {
    const TaskRows rows = read_task(find_task(task), folder, kRows);
    ASSERT_THAT(rows.questions, SizeIs(kRows)) << task;
    std::vector<ChoiceScores> scores;
    score_questions({checkpoint->weights(), tokenizer, {}}, rows, scores, {});
    ASSERT_THAT(scores, SizeIs(kRows)) << task;

    TokenBatch batch;
    batch.offsets = {0};
    std::vector<ChoiceIds> choices;
    for (const Question& question : rows.questions)
      for (const Choice& choice : question.choices) {
        const ChoiceIds& ids = choices.emplace_back(encode_choice(choice, tokenizer, {}, 0));
        batch.ids.insert(batch.ids.end(), ids.context.begin(), ids.context.end());
        batch.ids.insert(batch.ids.end(), ids.continuation.begin(), ids.continuation.end());
        batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
      }
    PassObserver none;
    const std::vector<float> losses = run_model(checkpoint->weights(), batch, {}, none, {.losses = true}).losses;
    size_t prompt = 0;
    for (size_t q = 0; q < scores.size(); ++q) {
      ASSERT_THAT(scores[q], SizeIs(rows.questions[q].choices.size())) << task << " " << q;
      for (size_t c = 0; c < scores[q].size(); ++c, ++prompt) {
        double expected = 0.0;
        const int64_t end = batch.offsets[prompt + 1];
        for (int64_t i = end - static_cast<int64_t>(choices[prompt].continuation.size()); i < end; ++i)
          expected -= losses[static_cast<size_t>(i - 1)];
        EXPECT_NEAR(scores[q][c], expected, 2e-3) << task << " " << q << " " << c;
        EXPECT_LT(scores[q][c], 0.0);
      }
    }
    EXPECT_EQ(task_json(rows, scores).at("rows"), kRows) << task;
  }
}

}  // namespace
}  // namespace spikescope
