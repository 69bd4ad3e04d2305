// A small LLaMA made in code, as files: what tests run where no fixtures are.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"

namespace spikescope::testing {

/// 3 layers, width 16, 4 heads of 4 on 2 KV heads, MLP 24, 64 tokens; context 512.
inline Json tiny_config() {
  return {{"model_type", "llama"},    {"num_hidden_layers", 3},         {"hidden_size", 16},
          {"num_attention_heads", 4}, {"num_key_value_heads", 2},       {"intermediate_size", 24},
          {"vocab_size", 64},         {"max_position_embeddings", 512}, {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},    {"tie_word_embeddings", false},   {"hidden_act", "silu"}};
}

struct TinyTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

/// Weights of tiny_config(), the same at every call; other ones by `seed`.
inline std::vector<TinyTensor> tiny_tensors(unsigned seed = 11) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<TinyTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float spread, float center = 0.0f) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    TinyTensor tensor{name, std::move(shape), std::vector<float>(count)};
    for (float& value : tensor.values) value = center + spread * normal(random);
    tensors.push_back(std::move(tensor));
  };
  add("model.embed_tokens.weight", {64, 16}, 1.0f);
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    add(prefix + "input_layernorm.weight", {16}, 0.1f, 1.0f);
    add(prefix + "self_attn.q_proj.weight", {16, 16}, 0.3f);
    add(prefix + "self_attn.k_proj.weight", {8, 16}, 0.3f);
    add(prefix + "self_attn.v_proj.weight", {8, 16}, 0.3f);
    add(prefix + "self_attn.o_proj.weight", {16, 16}, 0.3f);
    add(prefix + "post_attention_layernorm.weight", {16}, 0.1f, 1.0f);
    add(prefix + "mlp.gate_proj.weight", {24, 16}, 0.3f);
    add(prefix + "mlp.up_proj.weight", {24, 16}, 0.3f);
    add(prefix + "mlp.down_proj.weight", {16, 24}, 0.3f);
  }
  add("model.norm.weight", {16}, 0.1f, 1.0f);
  add("lm_head.weight", {64, 16}, 0.3f);
  return tensors;
}

inline void write_tensors(const std::filesystem::path& path, const std::vector<TinyTensor>& tensors) {
  std::vector<TensorToWrite> out;
  for (const TinyTensor& tensor : tensors)
    out.push_back({tensor.name, tensor.shape, "F32", std::as_bytes(std::span(tensor.values))});
  write_safetensors(path, out);
}

/// A byte-level BPE without merges whose 64 pieces are the printable characters from '@' on, space ("Ġ") and newline
/// ("Ċ").
inline Json tiny_tokenizer() {
  Json vocabulary = Json::object();
  for (int id = 0; id < 62; ++id) vocabulary[std::string(1, static_cast<char>('@' + id))] = id;
  vocabulary["Ġ"] = 62;
  vocabulary["."] = 63;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", Json::array()}}}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// config.json, model.safetensors and tokenizer.json.
inline void write_tiny_model(const std::filesystem::path& folder, unsigned seed = 11) {
  std::filesystem::create_directories(folder);
  write_text(folder / "config.json", tiny_config().dump());
  write_text(folder / "tokenizer.json", tiny_tokenizer().dump());
  write_tensors(folder / "model.safetensors", tiny_tensors(seed));
}

}  // namespace spikescope::testing
