// Checkpoints quantized by Hugging Face's compressed-tensors (tests/golden_quantized/compressed_tensors, made by
// scripts/keep-quantized-golden.py), and damaged ones.
#include "families/compressed_tensors.h"

#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../golden.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "io/output_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

fs::path golden() { return fs::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden_quantized/compressed_tensors"; }

TEST(CompressedTensors, WeightsAreThoseOfItsOwnLibrary) {
  const auto checkpoint = Checkpoint::open(golden());
  EXPECT_TRUE(checkpoint->unused_tensors().empty());
  ASSERT_NE(checkpoint->quantization(), nullptr);
  EXPECT_EQ(checkpoint->quantization()->matrices, 14);
  EXPECT_EQ(checkpoint->quantization()->ignore, std::vector<std::string>{"lm_head"});
  const SafetensorsFile expected = read_safetensors(golden() / "golden.safetensors");
  int compared = 0;
  for (const TensorInfo& tensor : expected.tensors.tensors()) {
    if (!tensor.name.ends_with(".weight")) continue;
    ++compared;
    const TensorInfo& read = checkpoint->tensors().require(tensor.name);
    EXPECT_TRUE(read.quantized) << tensor.name;
    EXPECT_EQ(read.shape, tensor.shape);
    EXPECT_EQ(read_tensor(read), read_tensor(tensor)) << tensor.name;
  }
  EXPECT_EQ(compared, 14);
}

TEST(CompressedTensors, LogitsAreThoseOfTransformers) {
  const auto checkpoint = Checkpoint::open(golden());
  const SafetensorsFile expected = read_safetensors(golden() / "golden.safetensors");
  TokenBatch batch;
  batch.ids = testing::raw_values<int64_t>(expected.tensors.require("input_ids"));
  batch.offsets = {0, 20, 40};
  testing::Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("logits", recorder.observer());
  PassObserver nothing;
  run_model(checkpoint->weights(), batch, hooks, nothing);
  const std::vector<float> logits = read_tensor(expected.tensors.require("logits"));
  const std::vector<float>& here = recorder.at("logits").values;
  ASSERT_EQ(here.size(), logits.size());
  float largest = 0.0f, difference = 0.0f;
  for (size_t i = 0; i < logits.size(); ++i) {
    largest = std::max(largest, std::abs(logits[i]));
    difference = std::max(difference, std::abs(here[i] - logits[i]));
  }
  EXPECT_LT(difference, 1e-5f * largest);
}

/// The golden folder with another config.json, and with tensors left out or added.
class Damaged : public ::testing::Test {
 protected:
  Damaged() : config_(read_json_file(golden() / "config.json")) {}

  Json& group(int index) { return config_["quantization_config"]["config_groups"]["group_" + std::to_string(index)]; }
  std::string error() {
    testing::write_text(folder_ / "config.json", config_.dump());
    SafetensorsFile file = read_safetensors(golden() / "model.safetensors");
    std::vector<TensorToWrite> tensors = more_;
    for (const TensorInfo& tensor : file.tensors.tensors())
      if (tensor.name != left_out_)
        tensors.push_back({tensor.name, tensor.shape, std::string(tensor.format->safetensors), tensor.bytes});
    write_safetensors(folder_ / "model.safetensors", tensors);
    return error_of([&] { Checkpoint::open(folder_.path()); });
  }

  const testing::TemporaryFolder folder_;
  Json config_;
  std::string left_out_;
  std::vector<TensorToWrite> more_;
};

TEST_F(Damaged, NotAtAll) { EXPECT_EQ(error(), ""); }

TEST_F(Damaged, OtherBits) {
  group(0)["weights"]["num_bits"] = 8;
  EXPECT_THAT(error(), AllOf(HasSubstr("weight_packed"), HasSubstr("expected I32 ["), HasSubstr("8 bits")));
}

TEST_F(Damaged, OtherGroups) {
  group(0)["weights"]["group_size"] = 8;
  EXPECT_THAT(error(), HasSubstr("weight_scale"));
  group(0)["weights"]["group_size"] = 7;
  EXPECT_THAT(error(), HasSubstr("groups of 7"));
  group(0)["weights"]["group_size"] = 0;
  EXPECT_THAT(error(), HasSubstr("group_size is 0"));
}

TEST_F(Damaged, OtherSymmetry) {
  group(0)["weights"]["symmetric"] = true;
  EXPECT_EQ(error(), "") << "older writers store zero points that are all 0";
  group(1)["weights"]["symmetric"] = false;
  EXPECT_THAT(error(), AllOf(HasSubstr("no tensor"), HasSubstr("weight_zero_point")));
}

TEST_F(Damaged, PartsMissing) {
  for (const char* part : {"weight_scale", "weight_shape", "weight_zero_point"}) {
    left_out_ = std::string("model.layers.0.self_attn.q_proj.") + part;
    EXPECT_THAT(error(), AllOf(HasSubstr("no tensor"), HasSubstr(left_out_)));
  }
}

TEST_F(Damaged, ShapesThatLie) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {31, 32}, {32, 64}, {-1, 32}, {0, 32}, {int64_t{1} << 50, 32}, {32}, {32, 32, 1}}) {
    left_out_ = "model.layers.0.self_attn.q_proj.weight_shape";
    more_ = {{left_out_, {static_cast<int64_t>(shape.size())}, "I64", std::as_bytes(std::span(shape))}};
    EXPECT_NE(error(), "") << shape[0];
  }
}

TEST_F(Damaged, ColumnsOrderedByGroup) {
  const std::vector<int32_t> order(32);
  more_ = {{"model.layers.0.self_attn.q_proj.weight_g_idx", {32}, "I32", std::as_bytes(std::span(order))}};
  EXPECT_THAT(error(), AllOf(HasSubstr("weight_g_idx"), HasSubstr("actorder")));
  more_.clear();
  group(0)["weights"]["actorder"] = "group";
  EXPECT_THAT(error(), HasSubstr("actorder"));
}

TEST_F(Damaged, ConfigsThatCannotBeRead) {
  const Json sound = config_;
  const auto with = [&](const std::function<void(Json&)>& change) {
    config_ = sound;
    change(config_["quantization_config"]);
    return error();
  };
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["format"] = "nvfp4-pack-quantized"; }),
              HasSubstr("'nvfp4-pack-quantized' cannot be read"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["weights"]["type"] = "float"; }),
              HasSubstr("type 'float'"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["weights"]["num_bits"] = 16; }), HasSubstr("16 bits"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["weights"]["strategy"] = "block"; }),
              HasSubstr("strategy 'block'"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"] = Json::object(); }), HasSubstr("config_groups"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"].erase("group_0"); }), HasSubstr("among its targets"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["targets"] = 3; }), HasSubstr("targets"));
  EXPECT_THAT(with([](Json& q) { q["config_groups"]["group_0"]["targets"] = {"re:("}; }), HasSubstr("config.json"));
  EXPECT_THAT(with([](Json& q) { q["quant_method"] = "awq"; }), HasSubstr("packed by 'awq'"));
  EXPECT_EQ(with([](Json& q) { q.erase("ignore"); }), "");
}

TEST_F(Damaged, NothingIsQuantized) {
  testing::write_tiny_model(folder_.path());
  Json config = testing::tiny_config();
  config["quantization_config"] = config_["quantization_config"];
  testing::write_text(folder_ / "config.json", config.dump());
  EXPECT_THAT(error_of([&] { Checkpoint::open(folder_.path()); }), HasSubstr("but none is"));
}

TEST_F(Damaged, StaticScalesOfInputsAreKept) {
  group(2)["input_activations"] = {
      {"num_bits", 8}, {"strategy", "tensor"}, {"symmetric", false}, {"dynamic", false}, {"type", "int"}};
  const std::vector<float> scale = {0.25f};
  const std::vector<int8_t> zero = {-3};
  const std::string module = "model.layers.0.mlp.gate_proj";
  more_ = {{module + ".input_scale", {1}, "F32", std::as_bytes(std::span(scale))},
           {module + ".input_zero_point", {1}, "I8", std::as_bytes(std::span(zero))}};
  ASSERT_EQ(error(), "");
  const auto checkpoint = Checkpoint::open(folder_.path());
  const Quantization& quantization = *checkpoint->quantization();
  ASSERT_EQ(quantization.input_scales.size(), 1u);
  EXPECT_EQ(quantization.input_scales.at(module).scale, 0.25f);
  EXPECT_EQ(quantization.input_scales.at(module).zero_point, -3);
  EXPECT_TRUE(checkpoint->unused_tensors().empty());
  EXPECT_THAT(::testing::PrintToString(quantization.text()), HasSubstr("asymmetric, one scale a tensor, static"));
  const std::vector<float> two = {1.0f, 2.0f};
  more_[0] = {module + ".input_scale", {2}, "F32", std::as_bytes(std::span(two))};
  EXPECT_THAT(error(), HasSubstr("should be one float"));
}

}  // namespace
}  // namespace spikescope
