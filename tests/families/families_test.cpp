// How a family is found, and how its config, its RoPE and the places of its tensors are read.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "../error_of.h"
#include "../fixtures.h"
#include "../tiny_model.h"
#include "families/checkpoint.h"
#include "families/choose.h"
#include "families/places.h"
#include "families/rope_config.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(ConfigOfAModel, ReadsKeysByTypeAndRemembersThem) {
  const Json json = {{"a.count", 4.0},
                     {"a.share", 0.5},
                     {"a.text", "x"},
                     {"a.none", nullptr},
                     {"a.big", int64_t{1} << 40},
                     {"a.list", {1, 2, 3}},
                     {"a.flags", {true, false}},
                     {"a.inner", {{"deep", 7}}},
                     {"b.count", 1}};
  const Config config(json, "file", "a.");
  EXPECT_EQ(config.integer("count"), 4);
  EXPECT_EQ(config.integer_or("none", 3), 3);
  EXPECT_EQ(config.number("share"), 0.5);
  EXPECT_EQ(config.text_or("missing", "y"), "y");
  EXPECT_TRUE(config.has("text"));
  EXPECT_FALSE(config.has("none"));
  EXPECT_THAT(config.unread(), ElementsAre("a.big", "a.list", "a.flags", "a.inner"));
  EXPECT_THAT(config.integers_or_none("list", 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(config.flags_or_none("flags", 2), ElementsAre(true, false));
  EXPECT_THAT(config.integers_or_none("missing", 3), IsEmpty());
  EXPECT_EQ(config.object_or_empty("inner").integer("deep"), 7);
  EXPECT_EQ(config.object_or_empty("missing").integer_or("deep", 8), 8);

  EXPECT_THAT(error_of([&] { config.integer("big"); }), HasSubstr("file: 'a.big' is 1099511627776; expected at most"));
  EXPECT_THAT(error_of([&] { config.integer("share"); }), HasSubstr("a.share"));
  EXPECT_THAT(error_of([&] { config.integer("missing"); }), HasSubstr("a.missing"));
  EXPECT_THAT(error_of([&] { config.integers_or_none("list", 2); }),
              HasSubstr("'a.list' should be a list of 2 values"));
  EXPECT_THAT(error_of([&] { config.texts_or_none("list", 3); }), HasSubstr("a.list[0]"));
  EXPECT_THAT(error_of([&] { config.object_or_empty("text"); }), HasSubstr("expected an object"));
  config.expect("missing", true);
  config.expect("text", "x");
  EXPECT_THAT(error_of([&] { config.expect("text", "z"); }), HasSubstr("'a.text' is \"x\", which is not supported"));
}

class Chosen : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_tiny_model(folder_.path());
    config_ = testing::tiny_config();
  }
  std::unique_ptr<Checkpoint> open(const std::string& as = "") const {
    testing::write_text(folder_ / "config.json", config_.dump());
    return Checkpoint::open(folder_.path(), as);
  }
  testing::TemporaryFolder folder_;
  Json config_;
};

TEST_F(Chosen, ByModelTypeOrByAnothersName) {
  EXPECT_EQ(open()->architecture().family, "llama");
  EXPECT_EQ(open("mistral")->architecture().family, "mistral");
  config_["model_type"] = "somebody_elses";
  EXPECT_EQ(open("llama")->architecture().family, "llama");
  EXPECT_THAT(error_of([&] { open("lama"); }),
              AllOf(HasSubstr("--as lama: there is no such family for safetensors files; there are"),
                    HasSubstr("llama, mistral"), HasSubstr("bert")));
}

TEST_F(Chosen, AnUnknownTypeIsMetWithTheNearestFamilyAndWhatIsStrange) {
  config_["model_type"] = "llamb";
  config_["wobble"] = 3;
  auto tensors = testing::tiny_tensors();
  tensors[1].name = "model.layers.0.odd_norm.weight";
  testing::write_tensors(folder_ / "model.safetensors", tensors);
  const std::string message = error_of([&] { open(); });
  EXPECT_THAT(message, AllOf(HasSubstr("model_type 'llamb' is not supported"), HasSubstr("nearest family is llama"),
                             HasSubstr("does not understand: wobble."),
                             HasSubstr("does not know: model.layers.{}.odd_norm.weight.")));
  EXPECT_THAT(message, Not(HasSubstr("it fails")));
  config_.erase("hidden_size");
  EXPECT_THAT(error_of([&] { open(); }), HasSubstr("read so, it fails: "));
}

TEST(Families, AreFoundByNameAndHaveNamesForWhatTheyNeed) {
  for (const Family& family : families()) {
    EXPECT_EQ(find_family(family.name), &family);
    for (const Role role : {Role::w_q, Role::w_o})
      EXPECT_FALSE(name_of(family, role).huggingface.pattern.empty()) << family.name << " " << role_name(role);
    const RoleName& first = family.names.front();
    EXPECT_TRUE(first.role == Role::token_embedding || first.role == Role::patch_embedding) << family.name;
    EXPECT_TRUE(first.huggingface.pattern.starts_with(family.prefix))
        << family.name << ": the prefix is looked for before the first name";
  }
  EXPECT_EQ(find_family("lama"), nullptr);
  EXPECT_THAT(error_of([] { name_of(*find_family("bloom"), Role::router); }),
              HasSubstr("bloom models: no tensor is known for router"));
}

/// A model that calls itself something else is told what it is most like, by its tensors.
TEST(Families, TheNearestIsFoundByTensors) {
  const std::pair<const char*, const char*> models[] = {
      {"bert", "bert"},           {"deepseek_v3", "deepseek_v3"}, {"dinov2_with_registers_interp", "dinov2"},
      {"falcon_new", "falcon"},   {"gemma2", "gemma2"},           {"gemma3_text", "gemma3_text"},
      {"gpt2_bare", "gpt2"},      {"gpt_neox", "gpt_neox"},       {"mixtral", "mixtral"},
      {"mpt", "mpt"},             {"olmo2", "olmo2"},             {"opt", "opt"},
      {"phi3", "phi3"},           {"qwen3", "qwen3"},             {"stablelm", "stablelm"},
  };
  for (const auto& [model, family] : models) {
    const testing::TemporaryFolder folder;
    std::filesystem::create_symlink(testing::kept_models() / model / "model.safetensors", folder / "model.safetensors");
    Json config = read_json_file(testing::kept_models() / model / "config.json");
    config["model_type"] = "another";
    config["novelty"] = 3;
    testing::write_text(folder / "config.json", config.dump());
    const std::string message = error_of([&] { Checkpoint::open(folder.path()); });
    EXPECT_THAT(message, HasSubstr(fmt::format("The nearest family is {} (", family))) << model;
    EXPECT_THAT(message, HasSubstr("novelty")) << model;
  }
}

/// 4 heads of 3 on 2 KV heads, width 8.
Architecture grouped() {
  Architecture a;
  a.family = "grouped";
  a.d_model = 8;
  a.n_heads = 4;
  a.n_kv_heads = 2;
  a.head_dim = 3;
  a.mlp_width = 10;
  a.experts = {.count = 5, .per_token = 1, .width = 7};
  return a;
}

struct Expected {
  Role role;
  Pack pack;
  std::vector<int64_t> shape;
  bool transposed;
  int64_t first, run, stride;
};

TEST(Places, OfEveryPacking) {
  const TensorTable none;
  const Expected all[] = {
      {Role::w_q, Pack::alone, {}, false, 0, 0, 0},
      {Role::w_o, Pack::transposed, {}, true, 0, 0, 0},
      {Role::w_q, Pack::qkv, {24, 8}, false, 0, 0, 0},
      {Role::w_k, Pack::qkv, {24, 8}, false, 12, 0, 0},
      {Role::w_v, Pack::qkv, {24, 8}, false, 18, 0, 0},
      {Role::b_v, Pack::qkv, {24}, false, 18, 0, 0},
      {Role::w_k, Pack::qkv_transposed, {8, 24}, true, 12, 0, 0},
      {Role::w_q, Pack::qkv_by_group, {24, 8}, false, 0, 6, 12},
      {Role::w_k, Pack::qkv_by_group, {24, 8}, false, 6, 3, 12},
      {Role::b_v, Pack::qkv_by_group, {24}, false, 9, 3, 12},
      {Role::w_gate, Pack::gate_up, {20, 8}, false, 0, 0, 0},
      {Role::w_up, Pack::gate_up, {20, 8}, false, 10, 0, 0},
      {Role::expert_down, Pack::stacked, {5, 8, 7}, false, 3 * 8, 0, 0},
  };
  for (const Expected& expected : all) {
    const WeightPlace place = place_of(grouped(), none, {expected.role, 6, 3}, {"p.{}.e.{}.w", expected.pack}, {});
    const std::string what = std::string(role_name(expected.role)) + " packed as " + std::to_string(int(expected.pack));
    EXPECT_EQ(place.tensor, "p.6.e.3.w") << what;
    EXPECT_EQ(place.shape, expected.shape) << what;
    EXPECT_EQ(place.transposed, expected.transposed) << what;
    EXPECT_EQ(place.first, expected.first) << what;
    EXPECT_EQ(place.run, expected.run) << what;
    EXPECT_EQ(place.stride, expected.stride) << what;
  }
}

TEST(Places, TakeTheNameThatTheCheckpointHas) {
  TensorTable table;
  for (const char* name : {"layers.2.new.weight", "other.weight"})
    table.add({name, {1}, find_safetensors_format("F32"), {}, "file"});
  const auto tensor = [&](const char* pattern) {
    return place_of(grouped(), table, {Role::ln1, 2}, pattern, {"model.", ""}).tensor;
  };
  EXPECT_EQ(tensor("model.layers.{}.old.weight|model.layers.{}.new.weight"), "layers.2.new.weight");
  EXPECT_EQ(tensor("model.layers.{}.old.weight|model.layers.{}.older.weight"), "layers.2.old.weight") << "to be missed";
  EXPECT_EQ(tensor("other.weight"), "other.weight") << "outside of the base model";
  EXPECT_THAT(error_of([&] { tensor(""); }), HasSubstr("grouped: no tensor is known for ln1 in files of this format"));
}

/// A GGUF's RoPE beside config.json's of the same meaning.
struct SameRope {
  Json gguf, huggingface;
};

TEST(GgufRope, MeansWhatConfigJsonMeans) {
  const SameRope pairs[] = {
      {{{"rope.freq_base", 5e5}}, {{"rope_theta", 5e5}}},
      {{{"rope.scaling.factor", 4.0}}, {{"rope_type", "linear"}, {"factor", 4.0}}},
      {{{"rope.scale_linear", 2.0}}, {{"rope_type", "linear"}, {"factor", 2.0}}},
      {{{"rope.scaling.type", "none"}, {"rope.scaling.factor", 4.0}}, Json::object()},
      {{{"rope.scaling.factor", 0.0}}, Json::object()},
      {{{"rope.scaling.type", "yarn"},
        {"rope.scaling.factor", 4.0},
        {"rope.scaling.original_context_length", 64},
        {"rope.scaling.yarn_beta_fast", 4.0},
        {"rope.scaling.yarn_beta_slow", 0.5},
        {"rope.scaling.yarn_attn_factor", 1.2}},
       {{"rope_type", "yarn"},
        {"factor", 4.0},
        {"original_max_position_embeddings", 64},
        {"beta_fast", 4.0},
        {"beta_slow", 0.5},
        {"attention_factor", 1.2}}},
      {{{"rope.scaling.type", "yarn"}, {"rope.scaling.factor", 4.0}}, {{"rope_type", "yarn"}, {"factor", 4.0}}},
  };
  for (const SameRope& pair : pairs) {
    const Rope gguf = read_gguf_rope(Config(pair.gguf, "gguf"), {}, 16, 256);
    const Rope huggingface = read_rope_parameters(Config(pair.huggingface, "config"), 1e4, 16, 256);
    EXPECT_EQ(gguf.frequencies, huggingface.frequencies) << pair.gguf;
    EXPECT_DOUBLE_EQ(gguf.attention_factor, huggingface.attention_factor) << pair.gguf;
    EXPECT_EQ(gguf.scaling, huggingface.scaling) << pair.gguf;
  }
  const Json doubled = {{"rope.scaling.type", "yarn"}, {"rope.scaling.factor", 4.0}, {"rope.scaling.attn_factor", 2.0}};
  EXPECT_DOUBLE_EQ(read_gguf_rope(Config(doubled, "gguf"), {}, 16, 256).attention_factor,
                   2.0 * (0.1 * std::log(4.0) + 1.0));
}

TEST(GgufRope, LongRopeLiesInTensors) {
  const std::vector<float> near = {1, 1, 1, 2}, far = {1, 2, 4, 8}, bad = {1, 0, 1, 1};
  const auto table = [](const std::vector<float>& short_factors, const std::vector<float>& long_factors) {
    TensorTable tensors;
    const auto add = [&](const char* name, const std::vector<float>& values) {
      tensors.add({name,
                   {static_cast<int64_t>(values.size())},
                   find_safetensors_format("F32"),
                   std::as_bytes(std::span(values)),
                   "file"});
    };
    add("rope_factors_short.weight", short_factors);
    add("rope_factors_long.weight", long_factors);
    return tensors;
  };
  const Json gguf = {{"rope.scaling.type", "longrope"}, {"rope.scaling.original_context_length", 64}};
  const Json huggingface = {{"rope_type", "longrope"},
                            {"original_max_position_embeddings", 64},
                            {"short_factor", near},
                            {"long_factor", far}};
  const Rope actual = read_gguf_rope(Config(gguf, "gguf"), table(near, far), 8, 256);
  const Rope expected = read_rope_parameters(Config(huggingface, "config"), 1e4, 8, 256);
  EXPECT_EQ(actual.frequencies, expected.frequencies);
  EXPECT_EQ(actual.long_frequencies, expected.long_frequencies);
  EXPECT_EQ(actual.short_context, 64);
  EXPECT_DOUBLE_EQ(actual.attention_factor, expected.attention_factor);
  EXPECT_THAT(error_of([&] { read_gguf_rope(Config(gguf, "gguf"), table(near, bad), 8, 256); }),
              HasSubstr("'rope_factors_long.weight' holds 0 at [1]"));
  EXPECT_THAT(error_of([&] { read_gguf_rope(Config(gguf, "gguf"), table(near, far), 16, 256); }),
              HasSubstr("'rope_factors_short.weight' has 4 values; expected 8"));
}

}  // namespace
}  // namespace spikescope
