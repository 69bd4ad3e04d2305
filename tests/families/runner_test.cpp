// The runner on a small model made in code: pieces and groups, interventions, how far it runs, and what it refuses.

#include "model/runner.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../golden.h"
#include "../tiny_model.h"
#include "base/error.h"
#include "families/checkpoint.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::Recorder;
using testing::TemporaryFolder;

class RunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_.path());
    checkpoint_ = Checkpoint::open(folder_.path());
  }

  TokenBatch batch(std::vector<int64_t> lengths) const {
    TokenBatch result;
    result.offsets = {0};
    for (const int64_t length : lengths) {
      for (int64_t t = 0; t < length; ++t) result.ids.push_back((t * 7 + length) % 64);
      result.offsets.push_back(static_cast<int64_t>(result.ids.size()));
    }
    return result;
  }

  RunResult run(const TokenBatch& batch, const Hooks& hooks, RunOptions options = {}) const {
    PassObserver none;
    return run_model(checkpoint_->weights(), batch, hooks, none, options);
  }

  std::string error_of(const TokenBatch& batch) const {
    return testing::error_of([&] { run(batch, {}); });
  }

  TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(RunnerTest, EveryPointIsReportedWholeAndFinite) {
  const TokenBatch prompts = batch({5, 1, 30});
  Recorder recorder(prompts);
  Hooks hooks;
  hooks.observe("*", recorder.observer());
  run(prompts, hooks);
  for (const HookPoint& point : hook_points(checkpoint_->architecture())) {
    if (point.kind().shape == PointShape::square) {
      for (int64_t p = 0; p < 3; ++p) EXPECT_TRUE(recorder.has(point.name() + "/" + std::to_string(p))) << point.name();
      continue;
    }
    ASSERT_TRUE(recorder.has(point.name())) << point.name();
    std::vector<int64_t> shape = row_shape(checkpoint_->architecture(), point);
    shape.insert(shape.begin(), 36);
    EXPECT_EQ(recorder.at(point.name()).shape, shape) << point.name();
    for (const float value : recorder.at(point.name()).values) ASSERT_TRUE(std::isfinite(value)) << point.name();
  }
}

TEST_F(RunnerTest, PromptsDoNotSeeEachOtherAndGroupsChangeNothing) {
  const TokenBatch together = batch({40, 3, 25});
  Recorder all(together), grouped(together);
  Hooks hooks, grouped_hooks;
  hooks.observe("blocks.2.resid_post", all.observer());
  grouped_hooks.observe("blocks.2.resid_post", grouped.observer());
  run(together, hooks);
  run(together, grouped_hooks, {.losses = false, .group_rows = 1});
  const std::vector<float>& values = all.at("blocks.2.resid_post").values;
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], grouped.at("blocks.2.resid_post").values[i], 1e-5);

  TokenBatch alone = batch({25});
  Recorder one(alone);
  Hooks alone_hooks;
  alone_hooks.observe("blocks.2.resid_post", one.observer());
  run(alone, alone_hooks);
  for (size_t i = 0; i < 25 * 16; ++i) EXPECT_NEAR(values[43 * 16 + i], one.at("blocks.2.resid_post").values[i], 1e-5);
}

/// More prompts than a group takes.
TEST_F(RunnerTest, ManyPromptsOfOneToken) {
  TokenBatch many = batch(std::vector<int64_t>(600, 1));
  for (size_t prompt = 0; prompt < 600; ++prompt) many.ids[prompt] = static_cast<int64_t>(prompt * 5 % 64);
  Recorder all(many);
  Hooks hooks;
  hooks.observe("blocks.2.resid_post", all.observer());
  run(many, hooks);
  for (const size_t prompt : {0, 255, 256, 599}) {
    const TokenBatch alone{{many.ids[prompt]}, {0, 1}};
    Recorder one(alone);
    Hooks alone_hooks;
    alone_hooks.observe("blocks.2.resid_post", one.observer());
    run(alone, alone_hooks);
    for (size_t i = 0; i < 16; ++i)
      EXPECT_NEAR(all.at("blocks.2.resid_post").values[prompt * 16 + i], one.at("blocks.2.resid_post").values[i], 1e-5);
  }
}

TEST_F(RunnerTest, EveryPointCanBeWritten) {
  const TokenBatch prompts = batch({6, 4});
  Recorder plain(prompts);
  Hooks observe;
  observe.observe("logits", plain.observer());
  run(prompts, observe);
  for (const HookPoint& point : hook_points(checkpoint_->architecture())) {
    Recorder changed(prompts);
    Hooks hooks;
    hooks.intervene(point.name(), [](const Activation& a) {
      for (int64_t row = 0; row < a.values.rows(); ++row)
        for (int64_t i = 0; i < a.values.row_size(); ++i) a.values.row(row)[i] *= i % 2 ? 1.5f : 1.0f;
    });
    hooks.observe("logits", changed.observer());
    run(prompts, hooks);
    double difference = 0.0;
    for (size_t i = 0; i < plain.at("logits").values.size(); ++i)
      difference = std::max(
          difference, std::abs(static_cast<double>(plain.at("logits").values[i]) - changed.at("logits").values[i]));
    EXPECT_GT(difference, 1e-4) << "writing " << point.name() << " changes the logits";
  }
}

TEST_F(RunnerTest, UpdatesAddUpToTheResidualStream) {
  const TokenBatch prompts = batch({12});
  Recorder r(prompts);
  Hooks hooks;
  hooks.observe("blocks.1.*", r.observer());
  run(prompts, hooks);
  const auto& pre = r.at("blocks.1.resid_pre").values;
  const auto& mid = r.at("blocks.1.resid_mid").values;
  for (size_t i = 0; i < pre.size(); ++i) {
    EXPECT_EQ(pre[i] + r.at("blocks.1.attn_out").values[i], mid[i]);
    EXPECT_EQ(mid[i] + r.at("blocks.1.mlp_out").values[i], r.at("blocks.1.resid_post").values[i]);
  }
}

TEST_F(RunnerTest, RunsOnlyAsFarAsSomebodyLooks) {
  class Counter : public PassObserver {
   public:
    void block_done(int layer, const TensorView&) override { last = layer; }
    int last = -1;
  } counter;
  Hooks hooks;
  int calls = 0;
  hooks.observe("blocks.1.resid_pre", [&](const Activation&) { ++calls; });
  run_model(checkpoint_->weights(), batch({4}), hooks, counter);
  EXPECT_EQ(counter.last, 0);
  EXPECT_EQ(calls, 1);
  hooks.observe("blocks.1.attn.z", [](const Activation&) {});
  run_model(checkpoint_->weights(), batch({4}), hooks, counter);
  EXPECT_EQ(counter.last, 1);
  EXPECT_EQ(calls, 2);
}

TEST_F(RunnerTest, LossesAreThoseOfTheLogits) {
  const TokenBatch prompts = batch({5, 1, 7});
  Recorder r(prompts);
  Hooks hooks;
  hooks.observe("logits", r.observer());
  const RunResult result = run(prompts, hooks, {.losses = true});
  ASSERT_EQ(result.losses.size(), 13u);
  for (int64_t t = 0; t < 13; ++t) {
    if (t == 4 || t == 5 || t == 12) {
      EXPECT_TRUE(std::isnan(result.losses[t])) << "a prompt's last token has no next one";
      continue;
    }
    double sum = 0.0;
    for (int64_t i = 0; i < 64; ++i) sum += std::exp(static_cast<double>(r.at("logits").values[t * 64 + i]));
    EXPECT_NEAR(result.losses[t], std::log(sum) - r.at("logits").values[t * 64 + prompts.ids[t + 1]], 1e-5);
  }
}

TEST_F(RunnerTest, RefusesWhatCannotBeRun) {
  EXPECT_THAT(error_of({{}, {0}}), HasSubstr("no prompt"));
  EXPECT_THAT(error_of({{1, 2}, {0, 2, 2}}), HasSubstr("prompt 1 is empty"));
  EXPECT_THAT(error_of({{1, 64}, {0, 2}}), HasSubstr("prompt 0, token 1: id 64 is outside the vocabulary of 64"));
  EXPECT_THAT(error_of({{-1}, {0, 1}}), HasSubstr("id -1"));
  EXPECT_THAT(error_of(batch({513})), HasSubstr("513 tokens, but the model's context is 512"));
}

TEST_F(RunnerTest, NonFiniteStatesAreNamed) {
  Hooks hooks;
  hooks.intervene("blocks.1.mlp_out", [](const Activation& a) { a.values.row(3)[2] = INFINITY; });
  hooks.observe("blocks.2.resid_post", [](const Activation&) {});
  try {
    run(batch({2, 4}), hooks);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("blocks.1.resid_post is not finite at prompt 1, token 1"));
  }
}

// What a checkpoint can have wrong, in a folder of its own each.
class BadCheckpoint : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_.path());
    config_ = testing::tiny_config();
    tensors_ = testing::tiny_tensors();
  }
  testing::TinyTensor& tensor(const std::string& name) {
    for (auto& t : tensors_)
      if (t.name == name) return t;
    throw std::out_of_range(name);
  }
  std::string message() {
    testing::write_text(folder_ / "config.json", config_.dump());
    testing::write_tensors(folder_ / "model.safetensors", tensors_);
    try {
      const auto checkpoint = Checkpoint::open(folder_.path());
      PassObserver none;
      Hooks hooks;
      hooks.observe("logits", [](const Activation&) {});
      run_model(checkpoint->weights(), {{1, 2, 3}, {0, 3}}, hooks, none);
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
    return "no error";
  }
  TemporaryFolder folder_;
  Json config_;
  std::vector<testing::TinyTensor> tensors_;
};

TEST_F(BadCheckpoint, NothingWrongIsNoError) { EXPECT_EQ(message(), "no error"); }

TEST_F(BadCheckpoint, NanInWeights) {
  tensor("model.layers.1.mlp.up_proj.weight").values[16 * 3 + 5] = NAN;
  EXPECT_THAT(message(), HasSubstr("'model.layers.1.mlp.up_proj.weight' holds nan at [3, 5]"));
}

TEST_F(BadCheckpoint, MissingTensorNamesTheNearest) {
  tensor("model.norm.weight").name = "model.nrom.weight";
  EXPECT_THAT(message(), HasSubstr("model.norm.weight"));
  EXPECT_THAT(message(), HasSubstr("model.nrom.weight"));
}

TEST_F(BadCheckpoint, WrongShape) {
  tensor("lm_head.weight").shape = {16, 64};
  EXPECT_THAT(message(), HasSubstr("'lm_head.weight' has shape [16, 64], but the config asks for [64, 16]"));
}

TEST_F(BadCheckpoint, ConfigsThatContradictThemselvesOrTheTensors) {
  const auto with = [&](const char* key, Json value) {
    config_ = testing::tiny_config();
    config_[key] = std::move(value);
    return message();
  };
  EXPECT_THAT(with("num_key_value_heads", 3), HasSubstr("4 heads cannot share 3 KV heads"));
  EXPECT_THAT(with("num_hidden_layers", 0), HasSubstr("layers is 0"));
  EXPECT_THAT(with("num_hidden_layers", 2), HasSubstr("belongs to layer 2, but the config has 2 layers"));
  EXPECT_THAT(with("num_hidden_layers", 4), HasSubstr("model.layers.3."));
  EXPECT_THAT(with("hidden_size", int64_t{1} << 62), HasSubstr("'hidden_size' is 4611686018427387904"));
  EXPECT_THAT(with("num_attention_heads", 0), HasSubstr("heads is 0"));
  EXPECT_THAT(with("num_key_value_heads", 0), HasSubstr("KV heads is 0"));
  EXPECT_THAT(with("vocab_size", -5), HasSubstr("vocabulary is -5"));
  EXPECT_THAT(with("hidden_size", "wide"), HasSubstr("hidden_size"));
  EXPECT_THAT(with("hidden_act", "swoosh"),
              HasSubstr("'hidden_act' is \"swoosh\", which is not supported; expected silu"));
  EXPECT_THAT(with("model_type", "lama"),
              HasSubstr("'lama' is not supported. The nearest family is llama (--as llama tries it)"));
  EXPECT_THAT(with("rope_theta", 0.0), HasSubstr("rope_theta"));
  EXPECT_THAT(with("rope_scaling", {{"type", "wavy"}, {"factor", 2.0}}),
              HasSubstr("'type' is \"wavy\", which is not supported; expected default"));
  EXPECT_THAT(with("rope_scaling", {{"type", "linear"}, {"factor", -2.0}}), HasSubstr("factor"));
  EXPECT_THAT(with("rope_scaling", {{"rope_type", "llama3"},
                                    {"factor", 8.0},
                                    {"low_freq_factor", 4.0},
                                    {"high_freq_factor", 4.0},
                                    {"original_max_position_embeddings", 64}}),
              HasSubstr("high_freq_factor"));
  EXPECT_THAT(with("rope_scaling", "linear"), HasSubstr("rope_scaling"));
  EXPECT_THAT(with("attention_bias", true), HasSubstr("q_proj.bias"));
  EXPECT_THAT(with("quantization_config", {{"quant_method", "gptq"}}), HasSubstr("packed by 'gptq'"));
  EXPECT_THAT(with("head_dim", 5), HasSubstr("RoPE turns 5 channels"));
}

TEST_F(BadCheckpoint, PathsThatAreNoCheckpoint) {
  const auto open = [](const fs::path& path) -> std::string {
    try {
      Checkpoint::open(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(open("HuggingFaceTB/SmolLM2-135M"), HasSubstr("does not download from a hub"));
  EXPECT_THAT(open("/nonexistent/model.gguf"), HasSubstr("no such file"));
  EXPECT_THAT(open(folder_ / "model.safetensors"), HasSubstr("give the folder"));
  testing::write_text(folder_ / "pytorch_model.bin", "x");
  EXPECT_THAT(open(folder_ / "pytorch_model.bin"), HasSubstr("pickled"));
  fs::remove(folder_ / "model.safetensors");
  EXPECT_THAT(open(folder_.path()), HasSubstr("pickled"));
  fs::remove(folder_ / "pytorch_model.bin");
  EXPECT_THAT(open(folder_.path()), HasSubstr("no model.safetensors"));
  fs::remove(folder_ / "config.json");
  EXPECT_THAT(open(folder_.path()), HasSubstr("config.json"));
}

TEST_F(BadCheckpoint, ABareBaseModelRunsWithTiedEmbeddings) {
  std::vector<testing::TinyTensor> bare;
  for (auto tensor : tensors_) {
    if (tensor.name == "lm_head.weight") continue;
    tensor.name = tensor.name.substr(6);
    bare.push_back(tensor);
  }
  tensors_ = bare;
  EXPECT_EQ(message(), "no error");
}

}  // namespace
}  // namespace spikescope
