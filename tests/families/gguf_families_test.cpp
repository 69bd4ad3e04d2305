// GGUF files of every architecture, made from the golden models as llama.cpp's converter makes them, against the same
// golden tensors at the same tolerances.

#include <gmock/gmock.h>

#include <numbers>

#include "../error_of.h"
#include "../golden.h"
#include "families/checkpoint.h"
#include "families/family.h"
#include "io/gguf.h"
#include "to_gguf.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using testing::GgufBuilder;
using testing::PlainTensor;
using testing::PlainTensors;

/// What one architecture's converter does besides.
struct Conversion {
  std::string model, architecture;
  std::function<void(PlainTensors& tensors, GgufBuilder& file, const Json& config)> also;
  /// Golden tensors (by the last part of their names) that the adapted weights change on purpose.
  std::set<std::string> adapted = {};
};
void PrintTo(const Conversion& c, std::ostream* out) { *out << c.model; }

void each(PlainTensors& tensors, const std::string& end, const std::function<void(PlainTensor&)>& change) {
  int found = 0;
  for (auto& [name, tensor] : tensors)
    if (name.ends_with(end)) {
      change(tensor);
      ++found;
    }
  EXPECT_GT(found, 0) << end;
}

void add_rope(GgufBuilder& file, const std::string& architecture, const Json& parameters) {
  file.add(architecture + ".rope.freq_base", parameters.at("rope_theta").get<float>());
  const std::string type = parameters.at("rope_type");
  if (type != "linear" && type != "yarn") return;
  file.add(architecture + ".rope.scaling.type", type);
  file.add(architecture + ".rope.scaling.factor", parameters.at("factor").get<float>());
  if (type == "linear") return;
  file.add(architecture + ".rope.scaling.original_context_length",
           parameters.at("original_max_position_embeddings").get<uint32_t>());
  for (const char* key : {"beta_fast", "beta_slow"})
    if (parameters.contains(key)) file.add(architecture + ".rope.scaling.yarn_" + key, parameters.at(key).get<float>());
}

void llama(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  const uint64_t heads = config.at("num_attention_heads"), kv_heads = config.at("num_key_value_heads");
  each(tensors, "q_proj.weight", [&](PlainTensor& t) { testing::interleave_heads(t, heads); });
  each(tensors, "k_proj.weight", [&](PlainTensor& t) { testing::interleave_heads(t, kv_heads); });
  add_rope(file, "llama", config.at("rope_parameters"));
  file.add("llama.rope.dimension_count", static_cast<uint32_t>(config.at("hidden_size").get<uint64_t>() / heads));
}

/// LLaMA 3's scaling becomes a tensor of divisors: 1 for short waves, the factor for long ones, a ramp between.
void llama3(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  llama(tensors, file, config);
  const Json& rope = config.at("rope_parameters");
  const double theta = rope.at("rope_theta"), factor = rope.at("factor"), low = rope.at("low_freq_factor"),
               high = rope.at("high_freq_factor"), context = rope.at("original_max_position_embeddings");
  const uint64_t dims = config.at("head_dim");
  PlainTensor divisors{{dims / 2}, {}};
  for (uint64_t i = 0; i < dims; i += 2) {
    const double wave = 2.0 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / static_cast<double>(dims));
    const double smooth = std::clamp((context / wave - low) / (high - low), 0.0, 1.0);
    divisors.values.push_back(static_cast<float>(1.0 / ((1.0 - smooth) / factor + smooth)));
  }
  tensors["rope_freqs.weight"] = divisors;
}

void mixtral(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  llama(tensors, file, config);
  testing::stack_experts(tensors);
}

void qwen2(PlainTensors&, GgufBuilder& file, const Json& config) {
  add_rope(file, "qwen2", config.at("rope_parameters"));
}
void qwen3(PlainTensors&, GgufBuilder& file, const Json& config) {
  add_rope(file, "qwen3", config.at("rope_parameters"));
}

void phi3(PlainTensors&, GgufBuilder& file, const Json& config) {
  add_rope(file, "phi3", config.at("rope_parameters"));
  file.add("phi3.attention.sliding_window", uint32_t{0});
  file.add("phi3.rope.dimension_count", uint32_t{16});
  file.add("phi3.rope.scaling.original_context_length", config.at("original_max_position_embeddings").get<uint32_t>());
}

void gpt2(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  for (const char* matrix : {"c_attn.weight", "c_proj.weight", "c_fc.weight"})
    each(tensors, matrix, testing::turn_over);
  file.add("gpt2.feed_forward_length", 4 * config.at("n_embd").get<uint32_t>());
}

/// Gains are stored whole. The metadata have no query_pre_attn_scalar: llama.cpp knows the scale by the number of
/// layers, and takes 1 / sqrt(head_dim) for this one. So the rest of the scale goes into `queries`.
void gemma(PlainTensors& tensors, const Json& config, const std::string& queries) {
  each(tensors, "norm.weight", [](PlainTensor& t) {
    for (float& gain : t.values) gain += 1.0f;
  });
  const double rest = std::sqrt(config.at("head_dim").get<double>() / config.at("query_pre_attn_scalar").get<double>());
  each(tensors, queries, [&](PlainTensor& t) {
    for (float& v : t.values) v = static_cast<float>(v * rest);
  });
}

/// The converter writes no RoPE for Gemma 2, whose theta is the default.
void gemma2(PlainTensors& tensors, GgufBuilder&, const Json& config) { gemma(tensors, config, "q_proj.weight"); }

/// One block in six sees everything in all of Gemma 3, which the metadata need not say; here it is one in three.
void gemma3(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  gemma(tensors, config, "q_norm.weight");
  add_rope(file, "gemma3", config.at("rope_parameters").at("full_attention"));
  file.add("gemma3.rope.freq_base_swa",
           config.at("rope_parameters").at("sliding_attention").at("rope_theta").get<float>());
  file.add("gemma3.attention.sliding_window_pattern", uint32_t{3});
}

/// The same as a list, which llama.cpp reads as well.
void gemma3_list(PlainTensors& tensors, GgufBuilder& file, const Json& config) {
  gemma(tensors, config, "q_norm.weight");
  add_rope(file, "gemma3", config.at("rope_parameters").at("full_attention"));
  file.add_array<bool>("gemma3.attention.sliding_window_pattern", {true, true, false});
}

std::unique_ptr<Checkpoint> open_as_gguf(const Conversion& c, const fs::path& source, const fs::path& file_name) {
  const Json config = read_json_file(source / "config.json");
  PlainTensors tensors = testing::read_all(source);
  GgufBuilder file;
  testing::add_metadata(file, config, c.architecture);
  c.also(tensors, file, config);
  const bool four_norms = c.architecture == "gemma2" || c.architecture == "gemma3";
  for (const auto& [name, tensor] : tensors)
    file.tensor_f32(testing::gguf_name(name, four_norms), tensor.shape, tensor.values);
  file.write(file_name);
  return Checkpoint::open(file_name);
}

class GgufOf : public ::testing::TestWithParam<Conversion> {};

TEST_P(GgufOf, AgreesWithTheGoldenTensors) {
  const Conversion& c = GetParam();
  const fs::path source = testing::golden_model(c.model);
  if (!fs::exists(source)) GTEST_SKIP() << testing::no_fixtures_at(source);
  const testing::TemporaryFolder folder;
  const auto checkpoint = open_as_gguf(c, source, folder / "model.gguf");
  EXPECT_EQ(checkpoint->unused_tensors(), std::vector<std::string>());
  for (const bool squares : {false, true}) testing::expect_golden(checkpoint->weights(), source, squares, c.adapted);
}

/// Any value of the metadata may be any other: an architecture comes of it, or an Error of one line.
TEST_P(GgufOf, AbsurdMetadataAreRefusedOrRead) {
  const Conversion& c = GetParam();
  const fs::path source = testing::golden_model(c.model);
  if (!fs::exists(source)) GTEST_SKIP() << testing::no_fixtures_at(source);
  const testing::TemporaryFolder folder;
  const Family& family = *find_family(open_as_gguf(c, source, folder / "model.gguf")->architecture().family);
  const GgufFile file = read_gguf(folder / "model.gguf");
  const Json absurd = {0,
                       -1,
                       1,
                       7,
                       int64_t{1} << 62,
                       std::numeric_limits<int64_t>::min(),
                       NAN,
                       INFINITY,
                       1e300,
                       "yarn",
                       "x",
                       true,
                       nullptr,
                       Json::array(),
                       {true}};
  int refused = 0;
  for (const auto& [key, value] : file.metadata.items()) {
    if (!key.starts_with(c.architecture + ".")) continue;
    for (const Json& other : absurd) {
      SCOPED_TRACE(key + " = " + other.dump());
      Json changed = file.metadata;
      changed[key] = other;
      const std::string message = testing::error_of([&] {
        const Config config(changed, "model.gguf", c.architecture + ".");
        validate(family.from_gguf(config, file.tensors), "model.gguf");
      });
      EXPECT_THAT(message, ::testing::AnyOf("", ::testing::StartsWith("model.gguf: ")));
      refused += !message.empty();
    }
  }
  EXPECT_GT(refused, 50);
}

std::vector<Conversion> conversions() {
  return {{"llama", "llama", llama},
          {"llama3_rope", "llama", llama3},
          {"llama_linear_rope", "llama", llama},
          {"llama_yarn_rope", "llama", llama},
          {"mixtral", "llama", mixtral},
          {"qwen2", "qwen2", qwen2},
          {"qwen3", "qwen3", qwen3},
          {"phi3", "phi3", phi3},
          {"gpt2", "gpt2", gpt2},
          {"gpt2_bare", "gpt2", gpt2},
          {"gemma2", "gemma2", gemma2, {"q", "q_rot"}},
          {"gemma3_text", "gemma3", gemma3, {"q_normed", "q_rot"}},
          {"gemma3_text", "gemma3", gemma3_list, {"q_normed", "q_rot"}}};
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufOf, ::testing::ValuesIn(conversions()),
                         [](const auto& info) { return info.param.model + "_" + std::to_string(info.index); });

std::vector<float> logits_of(const Checkpoint& checkpoint) {
  const TokenBatch batch{{2, 71, 5, 200, 31, 8, 8, 140}, {0, 8}};
  testing::Recorder recorder(batch);
  Hooks hooks;
  hooks.observe("logits", recorder.observer());
  PassObserver none;
  run_model(checkpoint.weights(), batch, hooks, none);
  return recorder.at("logits").values;
}

/// There are no golden tensors of Gemma 1. Its two formats at least agree, on another model's weights.
TEST(GgufOfGemma1, AgreesWithItsHuggingFaceFormat) {
  const testing::TemporaryFolder folder;
  fs::create_symlink(testing::kept_models() / "smollm3/model.safetensors", folder / "model.safetensors");
  Json config = read_json_file(testing::kept_models() / "smollm3/config.json");
  config.update({{"model_type", "gemma"}, {"head_dim", 16}, {"query_pre_attn_scalar", 16}});
  std::ofstream(folder / "config.json") << config.dump();
  const Conversion conversion{
      "", "gemma", [](PlainTensors& tensors, GgufBuilder&, const Json& c) { gemma(tensors, c, "q_proj.weight"); }};
  const std::vector<float> expected = logits_of(*Checkpoint::open(folder.path()));
  const std::vector<float> actual = logits_of(*open_as_gguf(conversion, folder.path(), folder / "model.gguf"));
  ASSERT_EQ(expected.size(), actual.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-5);
}

}  // namespace
}  // namespace spikescope
