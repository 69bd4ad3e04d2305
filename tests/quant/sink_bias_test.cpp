// Keys and values that stand in for spike tokens: made of a template, and in a pass.

#include "quant/sink_bias.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "../error_of.h"
#include "../golden.h"
#include "../planted_model.h"
#include "families/checkpoint.h"
#include "quant/activation_losses.h"
#include "quant/calibrate.h"
#include "quant/template_file.h"

namespace spikescope {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

TokenBatch golden_prompt(const std::string& model) {
  const SafetensorsFile golden = read_safetensors(testing::golden_model(model) / "golden.safetensors");
  TokenBatch batch;
  batch.ids = testing::raw_values<int64_t>(golden.tensors.require("input_ids"));
  batch.offsets = {0, static_cast<int64_t>(batch.ids.size())};
  return batch;
}

/// All but squares, which attention with a bias has none of; `hooks` may hold more.
testing::Recorder recorded(const ModelWeights& weights, const TokenBatch& batch, Hooks hooks) {
  testing::Recorder recorder(batch);
  for (const HookPoint& point : hook_points(weights.architecture()))
    if (point.kind().shape != PointShape::square) hooks.observe(point.name(), recorder.observer());
  PassObserver none;
  run_model(weights, batch, hooks, none);
  return recorder;
}

std::string block_point(int layer, const char* name) { return fmt::format("blocks.{}.{}", layer, name); }

/// Grouped heads, norms of keys by head and of all together, RoPE that scales or turns a part, blocks without any,
/// learned positions, biases.
class SinkBiasOf : public ::testing::TestWithParam<const char*> {
 protected:
  SinkBiasOf()
      : checkpoint_(Checkpoint::open(testing::golden_model(GetParam()))),
        weights_(checkpoint_->weights()),
        architecture_(checkpoint_->architecture()),
        batch_(golden_prompt(GetParam())) {}
  const std::unique_ptr<Checkpoint> checkpoint_;
  const ModelWeights& weights_;
  const Architecture& architecture_;
  const TokenBatch batch_;
};

TEST_P(SinkBiasOf, WhatAttentionReadsIsTheTokensOwnKeyAndValue) {
  ASSERT_EQ(why_no_sink_bias(architecture_), "");
  const testing::Recorder recorder = recorded(weights_, batch_, {});
  for (int layer = 0; layer < architecture_.n_layers; ++layer) {
    const char* const read = architecture_.norms_before() ? "ln1.out" : "resid_pre";
    const std::vector<float>& input = recorder.at(block_point(layer, read)).values;
    const SinkBias bias = sink_bias_of(weights_, layer, std::span(input).first(architecture_.d_model));
    ASSERT_EQ(bias.key.size(), static_cast<size_t>(architecture_.k_size()));
    ASSERT_EQ(bias.value.size(), static_cast<size_t>(architecture_.v_size()));
    for (const auto& [own, point] : {std::pair(&bias.key, "attn.rot_k"), {&bias.value, "attn.v"}})
      for (size_t i = 0; i < own->size(); ++i)
        EXPECT_NEAR((*own)[i], recorder.at(block_point(layer, point)).values[i], 1e-5) << layer << " " << point;
  }
}

TEST_P(SinkBiasOf, TheFirstTokensOwnChangeNothingInItsPlace) {
  const testing::Recorder plain = recorded(weights_, batch_, {});
  Hooks hooks;
  for (int layer = 0; layer < architecture_.n_layers; ++layer)
    hooks.bias_attention(layer, [&, layer] {
      const auto first = [&](const char* point, int64_t size) {
        return std::span(plain.at(block_point(layer, point)).values).first(static_cast<size_t>(size));
      };
      return AttentionBias{.rows = 1,
                           .keys = first("attn.rot_k", architecture_.k_size()),
                           .values = first("attn.v", architecture_.v_size()),
                           .hidden = {0}};
    });
  const testing::Recorder biased = recorded(weights_, batch_, hooks);
  const std::string last = block_point(architecture_.n_layers - 1, "resid_post");
  const std::vector<float>&expected = plain.at(last).values, &found = biased.at(last).values;
  double largest = 0.0;
  for (const float value : expected) largest = std::max<double>(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5 * largest);
}

TEST_P(SinkBiasOf, APassComputesWhatTheFormulaSays) {
  const int64_t heads = architecture_.n_heads, group = heads / architecture_.n_kv_heads;
  const int64_t hd = architecture_.head_dim, vd = architecture_.v_dim(), tokens = batch_.offsets[1], hidden = 2;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> keys(architecture_.k_size()), values(architecture_.v_size());
  for (std::vector<float>* some : {&keys, &values})
    for (float& value : *some) value = normal(random);
  Hooks hooks;
  hooks.bias_attention(1, [&] { return AttentionBias{.rows = 1, .keys = keys, .values = values, .hidden = {hidden}}; });
  const testing::Recorder recorder = recorded(weights_, batch_, hooks);
  const std::vector<float>&q = recorder.at("blocks.1.attn.rot_q").values,
        &k = recorder.at("blocks.1.attn.rot_k").values, &v = recorder.at("blocks.1.attn.v").values,
        &z = recorder.at("blocks.1.attn.z").values;
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t t = 0; t < tokens; ++t) {
      // softmax(scale q [K^T k']) [V; v']
      const int64_t kv = head / group;
      std::vector<double> mixed(static_cast<size_t>(vd));
      double sum = 0.0;
      for (int64_t token = -1; token <= t; ++token) {  // -1: k', v'
        if (token == hidden) continue;
        const float* const key = token < 0 ? &keys[kv * hd] : &k[(token * architecture_.n_kv_heads + kv) * hd];
        const float* const value = token < 0 ? &values[kv * vd] : &v[(token * architecture_.n_kv_heads + kv) * vd];
        double score = 0.0;
        for (int64_t i = 0; i < hd; ++i) score += static_cast<double>(q[(t * heads + head) * hd + i]) * key[i];
        const double weight = std::exp(architecture_.attention_scale * score);
        sum += weight;
        for (int64_t i = 0; i < vd; ++i) mixed[static_cast<size_t>(i)] += weight * value[i];
      }
      for (int64_t i = 0; i < vd; ++i)
        EXPECT_NEAR(z[(t * heads + head) * vd + i], mixed[static_cast<size_t>(i)] / sum, 1e-5);
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, SinkBiasOf,
                         ::testing::Values("qwen3", "olmo2", "llama_yarn_rope", "smollm3", "phi3", "gpt_neox",
                                           "stablelm", "gpt2_bare", "opt", "falcon_new"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SinkBias, IsRefusedWhereKeysCannotStandNowhere) {
  const auto why = [](const char* model) {
    return why_no_sink_bias(Checkpoint::open(testing::golden_model(model))->architecture());
  };
  EXPECT_THAT(why("gemma2"), HasSubstr("sliding window"));
  EXPECT_THAT(why("mpt"), HasSubstr("ALiBi"));
  EXPECT_THAT(why("deepseek_v3"), HasSubstr("latent"));
}

TEST(SinkBias, SinksAndSquaresAreRefused) {
  const auto checkpoint = Checkpoint::open(testing::golden_model("qwen3"));
  Hooks hooks;
  hooks.bias_attention(0, [] { return AttentionBias{.hidden = {0}}; });
  PassObserver none;
  class Sinks : public PassObserver {
    bool wants_sinks() const override { return true; }
  } sinks;
  EXPECT_THAT(error_of([&] { run_model(checkpoint->weights(), golden_prompt("qwen3"), hooks, sinks); }),
              HasSubstr("sink statistics of attention with a bias"));
  hooks.observe("blocks.1.attn.pattern", [](const Activation&) {});
  EXPECT_THAT(error_of([&] { run_model(checkpoint->weights(), golden_prompt("qwen3"), hooks, none); }),
              HasSubstr("attn.pattern of attention with a bias"));
}

/// On a model whose spike, of the first token of each window, is planted in its weights.
class PlantedSink : public ::testing::Test {
 protected:
  PlantedSink() { plant(1.0f); }

  /// `cancelled` of the spike in block 2: with all of it the spike ends there, with less it reaches the end.
  void plant(float cancelled) {
    testing::write_planted_model(folder_ / "model", cancelled);
    checkpoint_ = Checkpoint::open(folder_ / "model");
    CalibrationInfo info;
    info.model_sha256 = checkpoint_->sha256();
    templates_ = calibrate(checkpoint_->weights(), windows(6, 40, 1), info, {}, [](double, const std::string&) {});
  }

  static TokenBatch windows(int count, int length, unsigned seed) {
    std::mt19937 random(seed);
    TokenBatch batch;
    batch.offsets = {0};
    for (int window = 0; window < count; ++window) {
      for (int token = 0; token < length; ++token)
        batch.ids.push_back(token == 0 ? testing::kSpikeToken : static_cast<int64_t>(2 + random() % 62));
      batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
    }
    return batch;
  }
  LossesOfPass run(const char* method) const {
    const SimulatedActivations activations(checkpoint_->architecture(), templates_,
                                           plan_of(find_activation_method(method), 8, templates_));
    return comparison().run(checkpoint_->weights(), &activations, [](double) {});
  }
  LossComparison comparison() const {
    TextWindows text;
    text.length = 32;
    text.ids = windows(8, 32, 2).ids;
    text.bytes.assign(8, 31);
    return {checkpoint_->weights(), text, [](double) {}};
  }
  /// Mean change of the loss at all positions but the first, without its sign.
  static double distance(const LossesOfPass& pass, const LossesOfPass& reference) {
    double sum = 0.0;
    for (size_t window = 0; window < pass.windows.size(); ++window)
      sum += std::abs(pass.windows[window].without_position0(31) - reference.windows[window].without_position0(31));
    return sum / 8.0;
  }

  testing::TemporaryFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  SpikeTemplates templates_;
};

TEST_F(PlantedSink, KeysAndValuesAreThoseOfTheTemplates) {
  ASSERT_EQ(templates_.sets.size(), 1u);
  const TemplateSet& set = templates_.sets[0];
  EXPECT_EQ(templates_.kv_heads, 2);
  EXPECT_EQ(templates_.head_dim, 4);
  EXPECT_EQ(templates_.v_dim, 4);
  ASSERT_EQ(set.attn_k.size(), 2u * 2 * 4);  // blocks 1 and 2
  const SinkBias second = sink_bias_of(checkpoint_->weights(), 2, set.at(Site::attn_in, 2, 16));
  const std::span<const float> row = set.row(set.attn_k, 2);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), second.key.begin(), second.key.end()));
  EXPECT_TRUE(set.row(set.attn_v, 0).empty());
  EXPECT_TRUE(set.row(set.attn_v, 3).empty());
}

TEST_F(PlantedSink, ABiasDoesWhatTheSpikeDid) {
  const auto change = [&](const char* method) { return distance(run(method), comparison().reference()); };
  for (const float cancelled : {1.0f, 0.5f}) {
    plant(cancelled);
    const double kept = change("attention-bias-kept");
    EXPECT_LT(kept, 1e-3) << cancelled;
    EXPECT_GT(change("attention-masked"), 10.0 * kept) << cancelled;
  }
  // A spike that is never written is not there to be cancelled: where it would have ended, what is left of its token
  // is another one, which later blocks see. Where it reaches the end nobody sees that.
  EXPECT_LT(change("attention-bias"), 1e-3);
  EXPECT_GT(change("removed"), 10.0 * change("attention-bias"));
  EXPECT_GT(run("attention-bias-kept").largest_h[1], 6000.0);
  EXPECT_LT(run("attention-bias").largest_h[1], 100.0);
}

TEST_F(PlantedSink, ABiasIsTheFirstTokensKeyAndValueReplaced) {
  // Where the spike token stands first, nobody can tell the bias from another key and value of its own.
  const TokenBatch batch = windows(8, 32, 2);
  Hooks hooks;
  for (int layer = 1; layer <= 2; ++layer)
    for (const auto& [point, rows] :
         {std::pair(Point::rot_k, &templates_.sets[0].attn_k), {Point::v, &templates_.sets[0].attn_v}}) {
      const std::span<const float> row = templates_.sets[0].row(*rows, layer);
      hooks.intervene(HookPoint{point, layer}.name(), [&batch, row](const Activation& at) {
        for (int64_t i = 0; i < at.values.rows(); ++i)
          if (batch.ids[static_cast<size_t>(at.first_row + i)] == testing::kSpikeToken)
            std::copy(row.begin(), row.end(), at.values.row(i));
      });
    }
  PassObserver none;
  RunOptions options;
  options.losses = true;
  const RunResult replaced = run_model(checkpoint_->weights(), batch, hooks, none, options);
  const LossesOfPass biased = run("attention-bias-kept");
  for (size_t window = 0; window < 8; ++window) {
    double sum = 0.0;
    for (int64_t i = batch.offsets[window]; i + 1 < batch.offsets[window + 1]; ++i)
      sum += replaced.losses[static_cast<size_t>(i)];
    EXPECT_NEAR(biased.windows[window].nll, sum / 31.0, 1e-5);
  }
}

TEST_F(PlantedSink, FilesKeepKeysAndValues) {
  for (const char* name : {"t.safetensors", "t.h5"}) {
    write_templates(templates_, folder_ / name);
    const SpikeTemplates read = read_templates(folder_ / name);
    EXPECT_EQ(read.kv_heads, 2);
    EXPECT_EQ(read.sets.at(0).attn_k, templates_.sets[0].attn_k);
    EXPECT_EQ(read.sets.at(0).attn_v, templates_.sets[0].attn_v);
  }
  const auto changed = [&](const std::function<void(SpikeTemplates&)>& change) {
    SpikeTemplates copy = templates_;
    change(copy);
    write_templates(copy, folder_ / "changed.safetensors");
    return error_of([&] {
      check_templates_of(read_templates(folder_ / "changed.safetensors"), folder_ / "changed.safetensors",
                         checkpoint_->sha256(), checkpoint_->architecture());
    });
  };
  EXPECT_EQ(changed([](SpikeTemplates&) {}), "");
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].attn_v.resize(8); }), HasSubstr("[2, 2, 4]"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets[0].attn_k[3] = INFINITY; }), HasSubstr("not finite at 3"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.sets.clear(), t.head_dim = -4; }), HasSubstr("\"head_dim\" is -4"));
  EXPECT_THAT(changed([](SpikeTemplates& t) { t.kv_heads = 1, t.head_dim = t.v_dim = 8; }), HasSubstr("1 heads of 8"));

  // Files from before there were any have none, and only the methods that need them say so.
  EXPECT_EQ(changed([](SpikeTemplates& t) {
              t.kv_heads = t.head_dim = t.v_dim = 0;
              t.sets[0].attn_k.clear(), t.sets[0].attn_v.clear();
            }),
            "");
  const SpikeTemplates old = read_templates(folder_ / "changed.safetensors");
  EXPECT_EQ(error_of([&] { plan_of(find_activation_method("attention-masked"), 8, old); }), "");
  EXPECT_THAT(error_of([&] { plan_of(find_activation_method("attention-bias"), 8, old); }),
              HasSubstr("needs k' and v'"));
}

}  // namespace
}  // namespace spikescope
