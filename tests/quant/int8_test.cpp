// Linear layers in whole numbers of 8 bits, beside the simulation of the same in floats.

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "../error_of.h"
#include "../fixtures.h"
#include "../golden.h"
#include "../planted_model.h"
#include "model/int8_product.h"
#include "model/product.h"
#include "quant/activation_losses.h"
#include "quant/calibrate.h"
#include "quant/quantize_weights.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using Scope = WeightFormat::Scope;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<float> normal_values(size_t count, unsigned seed, float spread = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// Products of all kernels that LibTorch has here; the best is at work again afterwards.
class Int8Kernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (int8_kernels().empty()) GTEST_SKIP() << "this LibTorch has no kernels for products of 8 bits";
  }
  void TearDown() override {
    if (!int8_kernels().empty()) choose_int8_kernel();
  }
};

TEST_F(Int8Kernels, AddWholeNumbersExactly) {
  struct Shape {
    int64_t rows, inner, columns;
  };
  for (const std::string& name : int8_kernels()) {
    choose_int8_kernel(name);
    EXPECT_THAT(int8_kernel(), AllOf(HasSubstr(name), HasSubstr("LibTorch")));
    for (const Shape& shape : {Shape{1, 576, 960}, {20, 200, 40}, {131, 1031, 257}, {64, 1536, 576}, {3, 16, 1}})
      EXPECT_LE(int8_error(7, shape.rows, shape.inner, shape.columns), 1.0) << name << " " << shape.inner;
    if (int8_error(8) <= 1.0) {
      EXPECT_EQ(error_of([] { check_int8_products(8); }), "");
      EXPECT_LE(int8_error(8, 131, 1031, 257), 1.0) << name;
    } else {
      EXPECT_THAT(error_of([] { check_int8_products(8); }), AllOf(HasSubstr(name), HasSubstr("--bits-activation 7")));
    }
  }
  EXPECT_THAT(error_of([] { choose_int8_kernel("abacus"); }),
              AllOf(HasSubstr("abacus"), HasSubstr(int8_kernels().front())));
}

/// Tiles of AMX have a state that both kinds of products change.
TEST_F(Int8Kernels, DoNotDisturbOtherProducts) {
  const int64_t rows = 40, inner = 300, columns = 70;
  const std::vector<float> left = normal_values(rows * inner, 1), right = normal_values(columns * inner, 2);
  Panels panels;
  panels.reset(inner, columns);
  panels.set_columns(0, {right.data(), columns, inner, inner});
  const auto multiplied = [&] {
    std::vector<float> out(rows * columns);
    product({left.data(), rows, inner, inner}, panels, {out.data(), rows, columns, columns});
    return out;
  };
  const std::vector<float> before = multiplied();
  for (const std::string& name : int8_kernels()) {
    choose_int8_kernel(name);
    EXPECT_LE(int8_error(7, 64, 576, 96), 1.0);
    EXPECT_EQ(multiplied(), before);
    EXPECT_LE(int8_error(7, 64, 576, 96), 1.0);
  }
}

TEST_F(Int8Kernels, ARowDependsOnItselfAlone) {
  const int64_t rows = 300, inner = 96, columns = 64;
  const std::vector<float> x = normal_values(rows * inner, 3);
  std::vector<int8_t> values(columns * inner);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 255) - 127);
  const std::vector<float> scales(columns, 0.01f);
  for (const std::string& name : int8_kernels()) {
    choose_int8_kernel(name);
    Int8Product layer;
    layer.reset({.kind = Int8Inputs::Scale::fixed, .scale = 0.03f}, values, scales);
    ASSERT_EQ(layer.in(), inner);
    ASSERT_EQ(layer.out(), columns);
    std::vector<float> all(rows * columns), pieces(all.size());
    layer({x.data(), rows, inner, inner}, {all.data(), rows, columns, columns});
    for_row_pieces(rows, [&](int64_t first, int64_t count) {
      layer({x.data() + first * inner, count, inner, inner},
            {pieces.data() + first * columns, count, columns, columns});
    });
    EXPECT_EQ(pieces, all) << name;
  }
}

TEST(ToInt8, RoundsAsTheSimulationDoes) {
  std::vector<float> values = normal_values(1000, 4);
  values[0] = 1e9f;
  values[1] = -1e9f;
  values[2] = 0.0f;
  for (int i = 0; i < 20; ++i) values[static_cast<size_t>(3 + i)] = 0.25f * (static_cast<float>(i) - 9.5f);  // ties
  for (const int bits : {8, 7, 4, 2}) {
    const int middle = 1 << (bits - 1), most = 2 * middle - 1;
    const auto expect_same = [&](const Int8Inputs& inputs, std::vector<float> expected, const char* what) {
      std::vector<uint8_t> found(values.size());
      const float scale = to_int8(values.data(), static_cast<int64_t>(values.size()), inputs, found.data());
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(static_cast<float>(static_cast<int>(found[i]) - inputs.zero) * scale, expected[i])
            << what << " " << bits << " bits, value " << values[i];
    };
    const Quantizer symmetric = Quantizer::symmetric(bits, 0.25 * (middle - 0.5));
    std::vector<float> rounded = values;
    symmetric.apply(rounded.data(), 1000);
    expect_same({Int8Inputs::Scale::fixed, symmetric.scale, middle, 0, most}, rounded,
                "symmetric");
    const Quantizer asymmetric = Quantizer::asymmetric(bits, -0.7, 2.1);
    rounded = values;
    asymmetric.apply(rounded.data(), 1000);
    expect_same({Int8Inputs::Scale::fixed, asymmetric.scale, static_cast<int>(asymmetric.zero), 0, most},
                rounded, "asymmetric");
    rounded = values;
    quantize_rows_dynamic({rounded.data(), {1, 1000}, 1000}, bits, false);
    expect_same({Int8Inputs::Scale::row, 1.0f, middle, 0, most}, rounded, "dynamic");
  }
}

/// Windows of ids without a pattern; those of the planted model begin with its spike token.
TokenBatch int8_windows(int64_t vocabulary, int count, int length, unsigned seed) {
  std::mt19937 random(seed);
  TokenBatch batch;
  batch.offsets = {0};
  for (int window = 0; window < count; ++window) {
    for (int token = 0; token < length; ++token)
      batch.ids.push_back(token == 0 ? testing::kSpikeToken
                                     : static_cast<int64_t>(2 + random() % static_cast<unsigned>(vocabulary - 2)));
    batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
  }
  return batch;
}

/// The same as windows of a text.
TextWindows int8_text(int64_t vocabulary, int count, int length, unsigned seed) {
  TextWindows text;
  text.length = length;
  text.ids = int8_windows(vocabulary, count, length, seed).ids;
  text.bytes.assign(static_cast<size_t>(count), length - 1);
  return text;
}

WeightRecipe recipe_of_8_bits(Scope scope = Scope::channel) {
  WeightRecipe recipe;
  recipe.rounding.format = {.bits = 8, .scope = scope, .group = 8};
  return recipe;
}

SpikeTemplates calibrated_for_int8(const Checkpoint& checkpoint, const TokenBatch& batch,
                                   RotationKind rotation = RotationKind::none) {
  CalibrationInfo info;
  info.model_sha256 = checkpoint.sha256();
  return calibrate(checkpoint.weights(), batch, info, {.rotation = rotation}, [](double, const std::string&) {});
}

/// Shares of outputs that are more than one quantum from the simulation, by what the block's matrices give. A quantum
/// is a step of the 8-bit grid that holds the outputs: the largest magnitude of them all in that block, over 127.
std::map<std::string, double> shares_outside(const ModelWeights& weights, const SimulatedActivations& activations,
                                             const TokenBatch& batch) {
  const auto run = [&](const std::string& block, std::span<const BlockInt8Inputs> int8) {
    auto recorder = std::make_unique<testing::Recorder>(batch);
    Hooks hooks;
    // Rounding what is rounded changes nothing, so that a block in whole numbers reads what the simulation's reads.
    activations.attach(hooks, batch);
    for (const char* point : {"attn.q", "attn.k", "attn.v", "attn_out", "mlp.pre", "mlp_out"})
      hooks.observe("blocks." + block + "." + point, recorder->observer());
    PassObserver none;
    RunOptions options;
    options.int8 = int8;
    run_model(weights, batch, hooks, none, options);
    return recorder;
  };
  const std::vector<BlockInt8Inputs> inputs = activations.int8_inputs();
  const auto simulated = run("*", {});
  std::map<std::string, double> outside;
  std::map<std::string, int64_t> all;
  for (size_t layer = 0; layer < inputs.size(); ++layer) {
    std::vector<BlockInt8Inputs> only(inputs.size());
    only[layer] = inputs[layer];
    const auto real = run(std::to_string(layer), only);
    bool same = true;
    for (const auto& [name, tensor] : real->tensors()) {
      const std::vector<float>& expected = simulated->at(name).values;
      float largest = 0.0f;
      for (const float value : expected) largest = std::max(largest, std::abs(value));
      const std::string kind = name.substr(name.find('.', name.find('.') + 1) + 1);
      for (size_t i = 0; i < expected.size(); ++i)
        outside[kind] += !(std::abs(tensor.values[i] - expected[i]) <= largest / 127.0f);
      all[kind] += static_cast<int64_t>(expected.size());
      same = same && tensor.values == expected;
    }
    EXPECT_FALSE(same) << "block " << layer << " was not computed in whole numbers";
  }
  for (auto& [kind, share] : outside) share /= static_cast<double>(all.at(kind));
  return outside;
}

class Int8Pass : public Int8Kernels {
 protected:
  void SetUp() override {
    Int8Kernels::SetUp();
    if (IsSkipped()) return;
    if (int8_error(8) > 1.0) GTEST_SKIP() << int8_kernel() << " has no sums of 8 bits on this processor";
  }
  const testing::TemporaryFolder folder_;
};

TEST_F(Int8Pass, LosesWhatTheSimulationLoses) {
  testing::write_planted_model(folder_ / "model", 1.0f);
  const auto before = Checkpoint::open(folder_ / "model");
  const SpikeTemplates templates = calibrated_for_int8(*before, int8_windows(64, 6, 40, 1));
  ASSERT_EQ(templates.sets.size(), 1u);
  for (const Scope scope : {Scope::channel, Scope::tensor}) {
    const fs::path out = folder_ / std::string(scope_name(scope));
    quantize_weights(*before, recipe_of_8_bits(scope), {}, out);
    const auto after = Checkpoint::open(out);
    const LossComparison comparison(before->weights(), int8_text(64, 8, 32, 2), [](double) {});
    const auto dnll = [&](const SimulatedActivations& activations, bool int8) {
      const Json row = comparison.row(comparison.run(
          after->weights(), &activations, [](double) {}, int8));
      EXPECT_GT(row.at("tokens_per_second").get<double>(), 0.0);
      return row.at("dnll").get<double>();
    };
    for (const char* method : {"naive", "mse", "dynamic", "insertquant", "insertquant-dynamic"})
      for (const bool asymmetric : {false, true}) {
        if (asymmetric && std::string_view(method).ends_with("dynamic")) continue;
        if (scope == Scope::tensor && std::string_view(method) != "insertquant") continue;
        ActivationPlan plan = plan_of(find_activation_method(method), 8, templates);
        plan.asymmetric = asymmetric;
        const SimulatedActivations activations(before->architecture(), templates, plan);
        const double simulated = dnll(activations, false), real = dnll(activations, true);
        EXPECT_NEAR(real, simulated, 2e-3 + 0.02 * std::abs(simulated)) << method << (asymmetric ? ", asymmetric" : "");
        EXPECT_NE(real, 0.0);
      }
  }
}

TEST_F(Int8Pass, IsWithinAQuantumInFamiliesWithBiasesAndFusedWeights) {
  for (const char* name : {"phi3", "falcon_new", "qwen3", "gemma3_text", "opt"}) {
    const auto before = Checkpoint::open(testing::kept_models() / name);
    const int64_t vocabulary = before->architecture().vocabulary;
    const SpikeTemplates templates = calibrated_for_int8(*before, int8_windows(vocabulary, 6, 40, 1));
    quantize_weights(*before, recipe_of_8_bits(), {}, folder_ / name);
    const auto after = Checkpoint::open(folder_ / name);
    const SimulatedActivations activations(before->architecture(), templates,
                                           plan_of(find_activation_method("mse"), 8, templates));
    const auto shares = shares_outside(after->weights(), activations, int8_windows(vocabulary, 4, 24, 5));
    EXPECT_GE(shares.size(), 6u) << name;
    for (const auto& [kind, share] : shares) EXPECT_LE(share, 1e-3) << name << " " << kind;
  }
}

/// The statement of docs/quantize.md.
TEST_F(Int8Pass, OfSmolLM2IsWithinAQuantum) {
  SKIP_WITHOUT_SMOLLM2();
  const auto before = Checkpoint::open(testing::smollm2_file());
  const Tokenizer tokenizer = before->tokenizer();
  TokenBatch batch;
  batch.offsets = {0};
  for (const char* text : {"The tower is 324 metres tall, about the same height as an 81-storey building, and the "
                           "tallest structure in Paris. Its base is square, measuring 125 metres on each side.",
                           "In mathematics, a prime number is a natural number greater than 1 that is not a product of "
                           "two smaller natural numbers. There are infinitely many of them.",
                           "\"Where have you been?\" she asked, and closed the door behind him.\nHe did not answer."}) {
    const std::vector<int64_t> ids = tokenizer.encode(text);
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    batch.offsets.push_back(static_cast<int64_t>(batch.ids.size()));
  }
  const SpikeTemplates templates = calibrated_for_int8(*before, batch);
  ASSERT_FALSE(templates.sets.empty()) << why_not_applicable(templates);
  quantize_weights(*before, recipe_of_8_bits(), {}, folder_ / "w8");
  const auto after = Checkpoint::open(folder_ / "w8");
  const SimulatedActivations activations(before->architecture(), templates,
                                         plan_of(find_activation_method("insertquant"), 8, templates));
  const auto shares = shares_outside(after->weights(), activations, batch);
  ASSERT_EQ(shares.size(), 6u);
  for (const auto& [kind, share] : shares) {
    EXPECT_LE(share, 1e-3) << kind;
    RecordProperty(kind, std::to_string(share));
  }
}

TEST_F(Int8Pass, IsRefusedWhereItCannotBe) {
  testing::write_planted_model(folder_ / "model", 1.0f);
  const auto checkpoint = Checkpoint::open(folder_ / "model");
  const SpikeTemplates templates = calibrated_for_int8(*checkpoint, int8_windows(64, 6, 40, 1), RotationKind::hadamard);
  const auto refused = [&](const char* method, int bits, const std::function<void(ActivationPlan&)>& change) {
    ActivationPlan plan = plan_of(find_activation_method(method), bits, templates);
    change(plan);
    const SimulatedActivations activations(checkpoint->architecture(), templates, plan);
    return error_of([&] { activations.int8_inputs(); });
  };
  const auto as_it_is = [](ActivationPlan&) {};
  EXPECT_EQ(refused("insertquant", 8, as_it_is), "");
  EXPECT_EQ(refused("insertquant", 4, as_it_is), "");
  EXPECT_THAT(refused("rotation", 8, as_it_is), HasSubstr("rotated"));
  EXPECT_THAT(refused("balanced", 8, as_it_is), HasSubstr("balanced"));
  EXPECT_THAT(refused("smoothquant", 8, as_it_is), HasSubstr("smoothed channels"));
  EXPECT_THAT(refused("outlier-split", 8, as_it_is), HasSubstr("channels with outliers"));
  EXPECT_THAT(refused("naive", 8, [](ActivationPlan& plan) { plan.prefix = {1}; }), HasSubstr("the prefix"));
  EXPECT_THAT(refused("insertquant-absmax", 9, as_it_is), AllOf(HasSubstr("attn_in of block 0"), HasSubstr("9 bits")));
  EXPECT_THAT(refused("insertquant", 8, [](ActivationPlan& plan) { plan.quantize_templates = false; }),
              HasSubstr("templates are rounded"));
  EXPECT_THAT(refused("dynamic", 8, [](ActivationPlan& plan) { plan.asymmetric = true; }), HasSubstr("symmetric only"));
  EXPECT_THAT(refused("templates", 8, as_it_is), HasSubstr("leaves all activations as they are"));

  // Weights that are not quantized, and groups of columns.
  const SimulatedActivations activations(checkpoint->architecture(), templates,
                                         plan_of(find_activation_method("naive"), 8, templates));
  const LossComparison comparison(checkpoint->weights(), int8_text(64, 2, 16, 2), [](double) {});
  const auto run = [&](const ModelWeights& weights) {
    return error_of([&] {
      comparison.run(
          weights, &activations, [](double) {}, true);
    });
  };
  EXPECT_THAT(run(checkpoint->weights()), AllOf(HasSubstr("q_proj"), HasSubstr("values of F32")));
  quantize_weights(*checkpoint, recipe_of_8_bits(Scope::group), {}, folder_ / "groups");
  EXPECT_THAT(run(Checkpoint::open(folder_ / "groups")->weights()), HasSubstr("groups of 8"));
}

TEST(SavedInputs, AreReadBackAsTheyWere) {
  const testing::TemporaryFolder folder;
  testing::write_planted_model(folder / "model", 1.0f);
  const auto before = Checkpoint::open(folder / "model");
  const SpikeTemplates templates = calibrated_for_int8(*before, int8_windows(64, 6, 40, 1), RotationKind::hadamard);
  const auto inputs_of = [&](const char* method, int bits, bool asymmetric) {
    ActivationPlan plan = plan_of(find_activation_method(method), bits, templates);
    plan.asymmetric = asymmetric;
    return SimulatedActivations(before->architecture(), templates, plan).saved_inputs();
  };
  for (const char* method : {"rotation", "balanced", "smoothquant", "outlier-split"})
    EXPECT_FALSE(inputs_of(method, 8, false)) << method;
  EXPECT_FALSE(inputs_of("naive", 6, false));
  ActivationPlan mixed = plan_of(find_activation_method("naive"), 8, templates);
  mixed.choices[static_cast<size_t>(Site::down_in)][1].clip = Clip::dynamic;
  EXPECT_FALSE(SimulatedActivations(before->architecture(), templates, mixed).saved_inputs());
  ActivationPlan behind = plan_of(find_activation_method("naive"), 8, templates);
  behind.prefix = {1};
  EXPECT_FALSE(SimulatedActivations(before->architecture(), templates, behind).saved_inputs());
  EXPECT_FALSE(inputs_of("templates", 8, false));
  for (const char* method : {"naive", "insertquant", "dynamic"})
    for (const bool asymmetric : {false, true}) {
      WeightRecipe recipe = recipe_of_8_bits();
      recipe.rounding.format.packed = false;
      recipe.inputs = inputs_of(method, 8, asymmetric);
      ASSERT_TRUE(recipe.inputs) << method;
      const fs::path out = folder / (std::string(method) + (asymmetric ? "-asymmetric" : ""));
      quantize_weights(*before, recipe, {}, out);
      const auto after = Checkpoint::open(out);
      const Quantization& found = *after->quantization();
      EXPECT_EQ(found.format, "int-quantized");
      ASSERT_EQ(found.groups.size(), 1u);
      const std::optional<ActivationFormat>& format = found.groups[0].inputs;
      ASSERT_TRUE(format);
      const bool dynamic = std::string_view(method) == "dynamic";
      EXPECT_EQ(format->bits, 8);
      EXPECT_EQ(format->symmetric, !asymmetric);
      EXPECT_EQ(format->dynamic, dynamic);
      EXPECT_EQ(format->strategy, dynamic ? "token" : "tensor");
      EXPECT_EQ(found.input_scales.size(), dynamic ? 0u : 28u);  // seven matrices in four blocks
      if (dynamic) continue;
      const auto& scales = recipe.inputs->scales;
      for (int layer = 0; layer < 4; ++layer)
        for (const auto& [module, site] : {std::pair("self_attn.q_proj", Site::attn_in),
                                           {"self_attn.k_proj", Site::attn_in},
                                           {"self_attn.o_proj", Site::o_in},
                                           {"mlp.up_proj", Site::mlp_in},
                                           {"mlp.down_proj", Site::down_in}}) {
          const ActivationScale& scale = found.input_scales.at("model.layers." + std::to_string(layer) + "." + module);
          const ActivationScale& expected = scales[static_cast<size_t>(site)][static_cast<size_t>(layer)];
          EXPECT_EQ(scale.scale, expected.scale) << module;
          EXPECT_EQ(scale.zero_point, expected.zero_point) << module;
          EXPECT_GT(scale.scale, 0.0f);
          if (!asymmetric) {
            EXPECT_EQ(scale.zero_point, 0);
          }
        }
    }
}

}  // namespace
}  // namespace spikescope
