#include "quant/quantize_weights.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../fixtures.h"
#include "../golden.h"
#include "../planted_model.h"
#include "base/error.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "model/runner.h"
#include "quant/calibrate.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using Scope = WeightFormat::Scope;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

/// Three windows of ids that are nothing special.
TokenBatch some_tokens(int64_t vocabulary, int64_t length = 24) {
  TokenBatch batch;
  batch.offsets = {0};
  for (int window = 0; window < 3; ++window) {
    for (int64_t i = 0; i < length; ++i) batch.ids.push_back((i * i * 7 + window * 13 + i) % vocabulary);
    batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
  }
  return batch;
}

WeightRecipe recipe_of(int bits, int64_t group, bool symmetric = true) {
  WeightRecipe recipe;
  recipe.rounding.format = {.bits = bits, .scope = Scope::group, .group = group, .symmetric = symmetric};
  return recipe;
}

class QuantizeWeights : public ::testing::Test {
 protected:
  fs::path tiny() {
    if (!fs::exists(folder_ / "tiny")) testing::write_tiny_model(folder_ / "tiny");
    return folder_ / "tiny";
  }
  const testing::TemporaryFolder folder_;
};

/// Families with tensors of their own kind: fused ones, experts, tied embeddings, names without a prefix.
class QuantizeFamilies : public ::testing::TestWithParam<const char*> {};

TEST_P(QuantizeFamilies, AreReadBackAsTheyWere) {
  const testing::TemporaryFolder folder;
  const auto before = Checkpoint::open(testing::kept_models() / GetParam());
  for (const bool symmetric : {true, false}) {
    const fs::path out = folder / (symmetric ? "symmetric" : "asymmetric");
    const WeightSummary summary = quantize_weights(*before, recipe_of(8, 8, symmetric), {}, out);
    EXPECT_GT(summary.matrices, 0);
    EXPECT_LT(summary.weight_error, 1e-4);
    const auto after = Checkpoint::open(out);
    EXPECT_EQ(to_json(after->architecture()), to_json(before->architecture()));
    EXPECT_EQ(after->tensors().tensors().size(), before->tensors().tensors().size());
    ASSERT_NE(after->quantization(), nullptr);
    EXPECT_EQ(after->quantization()->matrices, summary.matrices);
    for (const TensorInfo& tensor : before->tensors().tensors()) {
      const TensorInfo& again = after->tensors().require(tensor.name);
      ASSERT_EQ(again.shape, tensor.shape);
      const std::vector<float> old_values = read_tensor(tensor), new_values = read_tensor(again);
      if (!again.quantized) {
        EXPECT_EQ(old_values, new_values) << tensor.name;
        EXPECT_EQ(again.format, tensor.format);
        continue;
      }
      EXPECT_THAT(tensor.name, ::testing::Not(AllOf(HasSubstr("embed"), HasSubstr("norm"))));
      double error = 0.0, all = 0.0;
      for (size_t i = 0; i < old_values.size(); ++i) {
        error += std::pow(static_cast<double>(old_values[i] - new_values[i]), 2);
        all += std::pow(static_cast<double>(old_values[i]), 2);
      }
      EXPECT_LT(error, 1e-4 * all) << tensor.name;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Kept, QuantizeFamilies,
                         ::testing::Values("phi3", "falcon_new", "mixtral", "qwen3", "gemma3_text", "deepseek_v3",
                                           "opt"));

TEST_F(QuantizeWeights, TheSameFileByteForByte) {
  const auto checkpoint = Checkpoint::open(tiny());
  WeightRecipe recipe = recipe_of(4, 8);
  for (const bool with_gptq : {false, true}) {
    if (with_gptq) recipe.gptq = GptqOptions{};
    const std::string name = with_gptq ? "gptq" : "rtn";
    for (const char* number : {"1", "2"})
      quantize_weights(*checkpoint, recipe, some_tokens(64), folder_ / (name + number));
    for (const char* file : {"model.safetensors", "config.json", "tokenizer.json"})
      EXPECT_EQ(read_file(folder_ / (name + "1") / file), read_file(folder_ / (name + "2") / file)) << name << file;
  }
  EXPECT_NE(read_file(folder_ / "rtn1/model.safetensors"), read_file(folder_ / "gptq1/model.safetensors"));
  EXPECT_EQ(read_file(folder_ / "rtn1/tokenizer.json"), read_file(tiny() / "tokenizer.json"));
}

/// Of the queries' weights in block 1, made by hand of what the saved block 0 gives it.
TEST_F(QuantizeWeights, BlocksAreCalibratedOnQuantizedOnes) {
  const auto checkpoint = Checkpoint::open(tiny());
  WeightRecipe recipe = recipe_of(3, 8);
  recipe.gptq = GptqOptions{};
  const TokenBatch tokens = some_tokens(64);
  const WeightSummary summary = quantize_weights(*checkpoint, recipe, tokens, folder_ / "saved");
  EXPECT_GT(summary.output_error, 0.0);
  const auto saved = Checkpoint::open(folder_ / "saved");
  InputMoments moments(16);
  Hooks hooks;
  hooks.observe("blocks.1.ln1.out", [&](const Activation& a) {
    moments.add({a.values.data, a.values.rows(), a.values.row_size(), a.values.row_stride});
  });
  PassObserver nothing;
  run_model(saved->weights(), tokens, hooks, nothing);
  const Weight w = checkpoint->weights().read(Role::w_q, 1);
  const QuantizedMatrix expected = gptq({w.values.data(), 16, 16, 16}, moments, recipe.rounding);
  const std::vector<float> values = read_tensor(saved->tensors().require("model.layers.1.self_attn.q_proj.weight"));
  for (int64_t row = 0; row < 16; ++row)
    for (int64_t column = 0; column < 16; ++column)
      EXPECT_EQ(values[static_cast<size_t>(row * 16 + column)],
                dequantize_value(expected.values[static_cast<size_t>(row * 16 + column)],
                                 expected.scale(recipe.rounding.format, row, column)));
}

/// With activations that are rotated, matrices are rounded after the same rotation, and written as they come out of it.
TEST_F(QuantizeWeights, RotatedActivationsTakeTheWeightsAlong) {
  const auto checkpoint = Checkpoint::open(tiny());
  const SpikeTemplates templates =
      calibrate(checkpoint->weights(), some_tokens(64), {}, {.rotation = RotationKind::hadamard, .seed = 5},
                [](double, const std::string&) {});
  WeightRecipe recipe = recipe_of(4, 8);
  for (const char* method : {"rotation", "balanced"}) {
    const SimulatedActivations activations(checkpoint->architecture(), templates,
                                           plan_of(find_activation_method(method), 8, templates));
    recipe.activations = &activations;
    const WeightSummary summary = quantize_weights(*checkpoint, recipe, {}, folder_ / method);
    EXPECT_GT(summary.weight_error, 0.0);
    EXPECT_LT(summary.weight_error, 0.02);
    EXPECT_LT(summary.bits_a_value, 10.0) << "4, and a scale of 32 for 8";
    const auto saved = Checkpoint::open(folder_ / method);
    EXPECT_EQ(saved->quantization(), nullptr);

    std::vector<float> weights = checkpoint->weights().read(Role::w_up, 1).values;
    const Rotation rotation(RotationKind::hadamard, 16, 5 + (uint64_t{static_cast<size_t>(Site::mlp_in)} << 32));
    const std::vector<float>& factors = templates.balances[static_cast<size_t>(Site::mlp_in)][1].factors;
    const bool balanced = std::string(method) == "balanced";
    for (size_t i = 0; i < weights.size() && balanced; ++i) weights[i] /= factors[i % 16];
    rotation.apply({weights.data(), {24, 16}, 16});
    const QuantizedMatrix rounded = round_to_nearest({weights.data(), 24, 16, 16}, recipe.rounding);
    for (int64_t row = 0; row < 24; ++row)
      for (int64_t column = 0; column < 16; ++column)
        weights[static_cast<size_t>(row * 16 + column)] = dequantize_value(
            rounded.values[static_cast<size_t>(row * 16 + column)], rounded.scale(recipe.rounding.format, row, column));
    rotation.undo({weights.data(), {24, 16}, 16});
    for (size_t i = 0; i < weights.size() && balanced; ++i) weights[i] *= factors[i % 16];
    EXPECT_EQ(read_tensor(saved->tensors().require("model.layers.1.mlp.up_proj.weight")), weights) << method;

    recipe.gptq = GptqOptions{};
    const WeightSummary better =
        quantize_weights(*checkpoint, recipe, some_tokens(64), folder_ / (std::string(method) + "-gptq"));
    EXPECT_GT(better.output_error, 0.0);
    EXPECT_LT(better.output_error, 0.02);
    recipe.gptq.reset();
  }
  const auto experts = Checkpoint::open(testing::kept_models() / "mixtral");
  const SpikeTemplates ranges = calibrate(experts->weights(), some_tokens(experts->architecture().vocabulary), {},
                                          {.rotation = RotationKind::hadamard}, [](double, const std::string&) {});
  const SimulatedActivations activations(experts->architecture(), ranges,
                                         plan_of(find_activation_method("rotation"), 8, ranges));
  recipe.activations = &activations;
  EXPECT_THAT(error_of([&] { quantize_weights(*experts, recipe, {}, folder_ / "experts"); }),
              HasSubstr("no rotation of theirs"));
}

/// The spike that templates replace is not in the moments: of down_proj in the block of its birth, made by hand.
TEST_F(QuantizeWeights, GptqSeesThePassOfTheRun) {
  testing::write_planted_model(folder_ / "planted", 1.0f);
  const auto checkpoint = Checkpoint::open(folder_ / "planted");
  TokenBatch tokens = some_tokens(60);
  for (int64_t& id : tokens.ids) id += 2;
  for (const int64_t first : {0, 24, 48}) tokens.ids[static_cast<size_t>(first)] = testing::kSpikeToken;
  const SpikeTemplates templates = calibrate(checkpoint->weights(), tokens, {}, {}, [](double, const std::string&) {});
  ASSERT_EQ(templates.sets.size(), 1u) << why_not_applicable(templates);
  const SimulatedActivations activations(checkpoint->architecture(), templates,
                                         plan_of(find_activation_method("insertquant"), 8, templates));
  WeightRecipe recipe = recipe_of(3, 8);
  recipe.gptq = GptqOptions{};
  recipe.activations = &activations;
  quantize_weights(*checkpoint, recipe, tokens, folder_ / "run");
  recipe.as_run = false;
  quantize_weights(*checkpoint, recipe, tokens, folder_ / "plain");
  recipe.activations = nullptr;
  quantize_weights(*checkpoint, recipe, tokens, folder_ / "alone");
  EXPECT_EQ(read_file(folder_ / "plain/model.safetensors"), read_file(folder_ / "alone/model.safetensors"));
  EXPECT_NE(read_file(folder_ / "plain/model.safetensors"), read_file(folder_ / "run/model.safetensors"));

  const auto saved = Checkpoint::open(folder_ / "run");
  InputMoments moments(16);
  Hooks hooks;
  activations.attach(hooks, tokens);
  hooks.observe("blocks.2.ln2.out", [&](const Activation& a) {
    moments.add({a.values.data, a.values.rows(), a.values.row_size(), a.values.row_stride});
  });
  // Blocks 0 and 1 as they were saved; block 2 as it was.
  ModelWeights weights = saved->weights();
  for (const WeightKey& key : weight_keys(checkpoint->architecture(), 2))
    weights.replace(key, checkpoint->weights().tensor(key), checkpoint->weights().place(key));
  PassObserver nothing;
  run_model(weights, tokens, hooks, nothing);
  const Weight w = checkpoint->weights().read(Role::w_up, 2);
  const QuantizedMatrix expected = gptq({w.values.data(), 24, 16, 16}, moments, recipe.rounding);
  const std::vector<float> values = read_tensor(saved->tensors().require("model.layers.2.mlp.up_proj.weight"));
  for (int64_t row = 0; row < 24; ++row)
    for (int64_t column = 0; column < 16; ++column)
      EXPECT_EQ(values[static_cast<size_t>(row * 16 + column)],
                dequantize_value(expected.values[static_cast<size_t>(row * 16 + column)],
                                 expected.scale(recipe.rounding.format, row, column)));
}

TEST_F(QuantizeWeights, GptqSeesWhatLayersReadBehindAPrefix) {
  testing::write_planted_model(folder_ / "planted", 1.0f);
  const auto checkpoint = Checkpoint::open(folder_ / "planted");
  const TokenBatch tokens = some_tokens(60);
  const SpikeTemplates templates = calibrate(checkpoint->weights(), tokens, {}, {.prefix = {{testing::kSpikeToken}}},
                                             [](double, const std::string&) {});
  const SimulatedActivations activations(checkpoint->architecture(), templates,
                                         plan_of(find_activation_method("prefix"), 8, templates));
  WeightRecipe recipe = recipe_of(3, 8);
  recipe.gptq = GptqOptions{};
  quantize_weights(*checkpoint, recipe, tokens, folder_ / "alone");
  recipe.activations = &activations;
  quantize_weights(*checkpoint, recipe, tokens, folder_ / "behind");
  const auto alone = Checkpoint::open(folder_ / "alone"), behind = Checkpoint::open(folder_ / "behind");
  const auto matrix = [](const Checkpoint& of, int layer) { return of.weights().read(Role::w_q, layer).values; };
  // The first block's first site has the same values as without a prefix, whose own do not count.
  EXPECT_EQ(matrix(*behind, 0), matrix(*alone, 0));
  EXPECT_NE(matrix(*behind, 1), matrix(*alone, 1));
}

TEST_F(QuantizeWeights, GptqGoesThroughFusedTensorsAndTiedEmbeddings) {
  for (const char* family : {"phi3", "falcon_new", "gemma3_text", "gpt_neox"}) {
    const auto checkpoint = Checkpoint::open(testing::kept_models() / family);
    WeightRecipe recipe = recipe_of(4, 16);
    recipe.gptq = GptqOptions{.act_order = true};
    const TokenBatch tokens = some_tokens(checkpoint->architecture().vocabulary);
    const WeightSummary summary = quantize_weights(*checkpoint, recipe, tokens, folder_ / family);
    EXPECT_GT(summary.output_error, 0.0) << family;
    EXPECT_LT(summary.output_error, 0.02) << family;
    const Json config = read_json_file(folder_ / family / "config.json");
    EXPECT_EQ(config["quantization_config"]["config_groups"]["group_0"]["weights"]["actorder"], "weight");
  }
}

TEST_F(QuantizeWeights, WhatTheConfigSays) {
  const auto checkpoint = Checkpoint::open(testing::kept_models() / "mixtral");
  quantize_weights(*checkpoint, recipe_of(4, 16), {}, folder_ / "out");
  const Json config = read_json_file(folder_ / "out/config.json"),
             old = read_json_file(checkpoint->path() / "config.json");
  for (const auto& [key, value] : old.items()) EXPECT_EQ(config[key], value) << key;
  const Json& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "compressed-tensors");
  EXPECT_EQ(quantization["format"], "pack-quantized");
  const Json& group = quantization["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["num_bits"], 4);
  EXPECT_EQ(group["weights"]["group_size"], 16);
  EXPECT_EQ(group["weights"]["strategy"], "group");
  const std::string ignore = quantization["ignore"].dump();
  EXPECT_THAT(ignore, AllOf(HasSubstr("\"lm_head\""), HasSubstr("gate\""))) << "the routers";
  EXPECT_THAT(ignore, ::testing::Not(HasSubstr("norm")));
}

/// A Python with transformers and compressed-tensors, from $SPIKESCOPE_PYTHON or the path.
TEST_F(QuantizeWeights, TransformersComputesTheSameLogits) {
  const char* own = std::getenv("SPIKESCOPE_PYTHON");
  const std::string python = own ? own : "python3";
  for (const char* family : {"qwen3", "phi3"}) {
    const auto checkpoint = Checkpoint::open(testing::kept_models() / family);
    quantize_weights(*checkpoint, recipe_of(4, 16), {}, folder_ / family);
    const auto saved = Checkpoint::open(folder_ / family);
    const TokenBatch tokens = some_tokens(checkpoint->architecture().vocabulary);
    testing::Recorder recorder(tokens);
    Hooks hooks;
    hooks.observe("logits", recorder.observer());
    PassObserver nothing;
    run_model(saved->weights(), tokens, hooks, nothing);
    const testing::Recorder::Tensor& logits = recorder.at("logits");
    const fs::path golden = folder_ / (std::string(family) + ".safetensors");
    write_safetensors(golden, {{"input_ids", {3, 24}, "I64", std::as_bytes(std::span(tokens.ids))},
                               {"logits", logits.shape, "F32", std::as_bytes(std::span(logits.values))}});
    const std::string command = python + " " SPIKESCOPE_SOURCE_DIR "/tests/quant/load_in_transformers.py " +
                                (folder_ / family).string() + " " + golden.string() + " 2>/dev/null";
    const int status = std::system(command.c_str());
    if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)
      GTEST_SKIP() << "no " << python << " with transformers and compressed-tensors; set SPIKESCOPE_PYTHON to one";
    EXPECT_EQ(status, 0) << family;
  }
}

TEST_F(QuantizeWeights, Refuses) {
  const auto checkpoint = Checkpoint::open(tiny());
  const auto with = [&](const WeightRecipe& recipe, const TokenBatch& tokens = {}) {
    const std::string error = error_of([&] { quantize_weights(*checkpoint, recipe, tokens, folder_ / "out"); });
    EXPECT_FALSE(fs::exists(folder_ / "out"));
    return error;
  };
  EXPECT_THAT(with(recipe_of(4, 10)), AllOf(HasSubstr("groups of 10"), HasSubstr("q_proj"), HasSubstr("16 columns")));
  EXPECT_THAT(with(recipe_of(1, 8)), HasSubstr("1 bits"));
  EXPECT_THAT(with(recipe_of(9, 8)), HasSubstr("9 bits"));
  WeightRecipe recipe = recipe_of(4, 8);
  recipe.gptq = GptqOptions{};
  EXPECT_THAT(with(recipe), HasSubstr("calibration tokens"));
  recipe.gptq.reset();
  recipe.rounding.format.packed = false;
  EXPECT_THAT(with(recipe), HasSubstr("no groups"));

  testing::write_text(folder_ / "there", "");
  EXPECT_THAT(error_of([&] { quantize_weights(*checkpoint, recipe_of(4, 8), {}, folder_ / "there"); }),
              HasSubstr("is there already"));
  quantize_weights(*checkpoint, recipe_of(4, 8), {}, folder_ / "once");
  EXPECT_THAT(
      error_of([&] { quantize_weights(*Checkpoint::open(folder_ / "once"), recipe_of(4, 8), {}, folder_ / "twice"); }),
      HasSubstr("quantized already"));
  const auto of = [&](const char* family, bool with_gptq) {
    WeightRecipe other = recipe_of(4, 16);
    if (with_gptq) other.gptq = GptqOptions{};
    return error_of([&] {
      const auto model = Checkpoint::open(testing::kept_models() / family);
      quantize_weights(*model, other, some_tokens(model->architecture().vocabulary), folder_ / "other");
    });
  };
  EXPECT_THAT(of("gpt2_bare", false), AllOf(HasSubstr("[in, out]"), HasSubstr("gpt2")));
  EXPECT_THAT(of("mixtral", true), AllOf(HasSubstr("experts"), HasSubstr("--weights rtn")));
  EXPECT_THAT(of("deepseek_v3", true), HasSubstr("--weights rtn"));
  EXPECT_THAT(of("olmo2", true), HasSubstr("--weights rtn"));
  for (const auto& entry : fs::directory_iterator(folder_.path()))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".spikescope")) << "left over: " << entry.path();
}

}  // namespace
}  // namespace spikescope
