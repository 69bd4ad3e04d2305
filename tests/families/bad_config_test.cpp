// Every value in every family's config.json replaced by one that is absurd: the checkpoint opens and runs, or an Error
// says in one line what is wrong with which file. Run it with sanitizers to see that nothing else happens.

#include <gmock/gmock.h>

#include "../error_of.h"
#include "../golden.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "model/gemm.h"
#include "model/patch_embedding.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// As JSON spells them; some are beyond what its parser takes.
constexpr const char* kAbsurd[] = {"0",
                                   "-1",
                                   "1",
                                   "2",
                                   "7",
                                   "2147483648",
                                   "4611686018427387904",
                                   "-9223372036854775808",
                                   "9223372036854775807",
                                   "1e999",
                                   "-1e999",
                                   "1e300",
                                   "1e-300",
                                   "0.5",
                                   "\"x\"",
                                   "\"\"",
                                   "null",
                                   "true",
                                   "false",
                                   "[]",
                                   "[0]",
                                   "{}",
                                   "{\"type\":\"yarn\"}"};

/// Where the values stand, those inside of objects and lists too.
void add_pointers(const Json& value, const Json::json_pointer& at, std::vector<Json::json_pointer>& pointers) {
  if (!at.empty()) pointers.push_back(at);
  if (value.is_object())
    for (const auto& [key, member] : value.items()) add_pointers(member, at / key, pointers);
  if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i) add_pointers(value[i], at / i, pointers);
}

/// The model of a folder with another config.json. Opening and running it says nothing, or what is wrong.
class Mutant {
 public:
  explicit Mutant(const fs::path& source) {
    fs::create_symlink(source / "model.safetensors", folder_ / "model.safetensors");
  }
  std::string message(const std::string& config) const {
    testing::write_text(folder_ / "config.json", config);
    return testing::error_of([&] {
      const std::vector<std::string> towers = Checkpoint::towers(folder_.path());
      if (towers.empty()) run("");
      for (const std::string& tower : towers) run(tower);
    });
  }

 private:
  void run(const std::string& tower) const {
    const auto checkpoint = Checkpoint::open(folder_.path(), "", tower);
    const Architecture& a = checkpoint->architecture();
    TokenBatch batch;
    int64_t length = std::min<int64_t>(3, a.context_length);
    if (a.patches) {
      constexpr int64_t kLargestSide = 64;  // of an image that a test cares to make
      const int64_t side = a.patches.image, channels = a.patches.channels;
      if (side > kLargestSide) return;
      batch.pixels = {1, channels, side, std::vector<float>(static_cast<size_t>(channels * side * side), 0.5f)};
      length = image_tokens(a.patches, side);
    }
    batch.ids.assign(static_cast<size_t>(length), 1);
    batch.offsets = {0, length};
    Hooks hooks;
    hooks.observe("blocks.2.resid_post", [](const Activation&) {});
    hooks.observe("pooled", [](const Activation&) {});
    PassObserver none;
    run_model(checkpoint->weights(), batch, hooks, none);
  }

  testing::TemporaryFolder folder_;
};

using ::testing::AnyOf;
using ::testing::HasSubstr;

class AbsurdConfig : public ::testing::TestWithParam<fs::path> {};

TEST_P(AbsurdConfig, IsRefusedInOneLineOrRuns) {
  const int before = threads();
  set_threads(1);  // they would only wait for each other
  const Mutant mutant(GetParam());
  std::set<std::string> tried;
  for (const char* name : {"config.json", "config_legacy.json"}) {
    if (!fs::exists(GetParam() / name)) continue;
    const Json config = read_json_file(GetParam() / name);
    ASSERT_EQ(mutant.message(config.dump()), "");
    std::vector<Json::json_pointer> pointers;
    add_pointers(config, Json::json_pointer(), pointers);
    for (const auto& pointer : pointers) {
      if (!tried.insert(pointer.to_string()).second) continue;
      for (const char* absurd : kAbsurd) {
        Json changed = config;
        changed[pointer] = "@";
        std::string text = changed.dump();
        text.replace(text.find("\"@\""), 3, absurd);
        SCOPED_TRACE(name + pointer.to_string() + " = " + absurd);
        const std::string message = mutant.message(text);
        EXPECT_THAT(message, AnyOf("", HasSubstr("config.json"), HasSubstr("model.safetensors")));
      }
    }
  }
  set_threads(before);
}

struct Contradiction {
  const char* model;
  Json changes;  ///< of config.json, as a merge patch
  const char* expected;
};

TEST(ContradictoryConfig, IsNamed) {
  const auto rope = [](const char* key, Json value) { return Json{{"rope_parameters", {{key, std::move(value)}}}}; };
  const std::vector<Json> none;
  const Json longrope = {{"rope_type", "longrope"},
                         {"original_max_position_embeddings", 16},
                         {"short_factor", {1, 1, 1, 1, 1, 1, 1, 1}},
                         {"long_factor", {1, 1, 1}}};
  Json faraway = longrope;
  faraway["original_max_position_embeddings"] = 1e30;
  const Contradiction contradictions[] = {
      {"qwen3", {{"rope_parameters", faraway}}, "'original_max_position_embeddings' is 1e+30"},
      {"dinov2_with_registers_interp", {{"mlp_ratio", -2}}, "'mlp_ratio' is -2"},
      {"qwen3", {{"num_attention_heads", 3}}, "3 heads cannot share 2 KV heads"},
      {"qwen3", {{"head_dim", 16}}, "q_proj.weight' has shape [128, 64], but the config asks for [64, 64]"},
      {"qwen3", {{"vocab_size", 287}}, "has shape [288, 64], but the config asks for [287, 64]"},
      {"qwen3",
       {{"num_hidden_layers", 2}, {"layer_types", nullptr}},
       "belongs to layer 2, but the config has 2 layers"},
      {"qwen3", {{"num_hidden_layers", 4}, {"layer_types", nullptr}}, "no tensor \"model.layers.3."},
      {"qwen3", {{"num_hidden_layers", 4}}, "'layer_types' should be a list of 4 values"},
      {"qwen3", {{"num_hidden_layers", 1000000000}}, "layers is 1000000000; expected 1 to 4096"},
      {"qwen3", {{"layer_types", {"full_attention", "full_attention", "linear"}}}, "layer_types[2] is 'linear'"},
      {"qwen3", {{"layer_types", none}}, "'layer_types' should be a list of 3 values"},
      {"qwen3", {{"use_sliding_window", true}, {"sliding_window", -1}}, "the sliding window is -1"},
      {"qwen3", rope("rope_theta", 0), "'rope_theta' is 0; expected a positive number"},
      {"llama_yarn_rope", rope("factor", -4.0), "'factor' is -4; expected a positive number"},
      {"llama_yarn_rope", rope("rope_type", "spiral"), "'rope_type' is \"spiral\", which is not supported"},
      {"phi3", {{"rope_parameters", longrope}}, "'long_factor' should be a list of 8 values"},
      {"stablelm", rope("partial_rotary_factor", 0.2), "RoPE turns 3 channels a head; expected an even number"},
      {"stablelm", rope("partial_rotary_factor", 1.5), "'partial_rotary_factor' is 1.5"},
      {"gemma2", {{"sliding_window", -8}}, "the sliding window is -8"},
      {"gemma2", {{"attn_logit_softcapping", -1.0}}, "soft cap on scores is -1"},
      {"gemma3_text", {{"query_pre_attn_scalar", 0}}, "the attention scale is inf"},
      {"gemma3_text", {{"query_pre_attn_scalar", 1e300}}, "the attention scale is 1e-150"},
      {"gemma3_text", {{"layer_types", nullptr}, {"_sliding_window_pattern", 0}}, "the pattern of sliding blocks is 0"},
      {"smollm3", {{"no_rope_layers", {1, 0}}}, "'no_rope_layers' should be a list of 3 values"},
      {"smollm3", {{"no_rope_layers", nullptr}, {"no_rope_layer_interval", 0}}, "'no_rope_layer_interval' is 0"},
      {"mixtral", {{"num_experts_per_tok", 5}}, "a token goes through 5 of 4 experts"},
      {"mixtral", {{"num_local_experts", 5}}, "block_sparse_moe.gate.weight' has shape [4, 64]"},
      {"mixtral", {{"num_local_experts", 65536}, {"num_hidden_layers", 4096}}, "has shape [4, 64]"},
      {"deepseek_v3", {{"n_group", 3}}, "8 experts do not divide into 3 groups"},
      {"deepseek_v3", {{"topk_group", 3}}, "experts are chosen from 3 of 2 groups"},
      {"deepseek_v3", {{"num_experts_per_tok", 5}}, "1 groups of 4 experts are fewer than the 5"},
      {"deepseek_v3", {{"first_k_dense_replace", -1}}, "'first_k_dense_replace' is -1"},
      {"deepseek_v3", {{"qk_nope_head_dim", -1}}, "'qk_nope_head_dim' is -1"},
      {"deepseek_v3", {{"qk_rope_head_dim", 7}}, "RoPE turns 7 channels a head"},
      {"deepseek_v3", {{"routed_scaling_factor", 1e300}}, "'routed_scaling_factor' is 1e+300"},
      {"mpt", {{"n_heads", 0}}, "heads is 0"},
      {"mpt", {{"attn_config", {{"alibi_bias_max", 0}}}}, "'alibi_bias_max' is 0"},
      {"mpt", {{"attn_config", {{"alibi", false}}}}, "'alibi' is false, which is not supported"},
      {"falcon_alibi", {{"num_attention_heads", 0}}, "heads is 0"},
      {"gpt2_bare", {{"n_positions", 65}}, "wpe.weight' has shape [64, 64], but the config asks for [65, 64]"},
      {"opt", {{"word_embed_proj_dim", 32}}, "'word_embed_proj_dim' is 32, which is not supported; expected 64"},
      {"bert", {{"position_embedding_type", "relative_key"}}, "'position_embedding_type' is \"relative_key\""},
  };
  for (const Contradiction& c : contradictions) {
    const fs::path source = testing::kept_models() / c.model;
    Json config = read_json_file(source / "config.json");
    config.merge_patch(c.changes);
    EXPECT_THAT(Mutant(source).message(config.dump()), HasSubstr(c.expected)) << c.model << " " << c.changes;
  }
}

TEST(ContradictoryTensors, AreNamed) {
  const fs::path source = testing::kept_models() / "mixtral";
  const SafetensorsFile file = read_safetensors(source / "model.safetensors");
  const std::string expert = "model.layers.1.block_sparse_moe.experts.3.w2.weight", norm = "model.norm.weight";
  const std::vector<std::byte> wide(64 * 8);
  const auto message = [&](const std::function<bool(TensorToWrite&)>& keeps) {
    std::vector<TensorToWrite> tensors;
    for (const TensorInfo& tensor : file.tensors.tensors())
      if (TensorToWrite copy{tensor.name, tensor.shape, std::string(tensor.format->safetensors), tensor.bytes};
          keeps(copy))
        tensors.push_back(copy);
    const testing::TemporaryFolder folder;
    fs::copy_file(source / "config.json", folder / "config.json");
    write_safetensors(folder / "model.safetensors", tensors);
    return testing::error_of([&] { Checkpoint::open(folder.path()); });
  };
  EXPECT_EQ(message([](TensorToWrite&) { return true; }), "");
  EXPECT_THAT(message([&](TensorToWrite& t) { return t.name != expert; }), HasSubstr("no tensor \"" + expert + "\""));
  EXPECT_THAT(message([&](TensorToWrite& t) {
                if (t.name == norm) t = {norm, {64}, "I64", wide};
                return true;
              }),
              HasSubstr("'model.norm.weight' is stored as I64, which is not supported"));
}

std::vector<fs::path> models() {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(testing::kept_models()))
    if (entry.is_directory()) all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  return all;
}

INSTANTIATE_TEST_SUITE_P(Families, AbsurdConfig, ::testing::ValuesIn(models()),
                         [](const auto& info) { return info.param.filename().string(); });

}  // namespace
}  // namespace spikescope
