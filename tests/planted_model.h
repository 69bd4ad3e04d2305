// A small LLaMA with a spike planted in its weights: where it is born, cancelled and gone is known.
#pragma once

#include "tiny_model.h"

namespace spikescope::testing {

/// The token that becomes a spike token wherever it stands: 'A'.
inline constexpr int64_t kSpikeToken = 1;
/// Dimension of the spike, and the one by which the first block knows the token.
inline constexpr int64_t kSpikeDim = 3, kMarkDim = 15;
/// Neuron that writes and cancels.
inline constexpr int64_t kSpikeNeuron = 23;

/// tiny_config() with 4 blocks.
inline Json planted_config() {
  Json config = tiny_config();
  config["num_hidden_layers"] = 4;
  return config;
}

/// The spike of kSpikeToken is born in block 0, 6,400 high or a little less; block 2 takes `cancelled` of it (1: all but
/// a few per mille).
inline std::vector<TinyTensor> planted_tensors(float cancelled) {
  std::vector<TinyTensor> tensors = tiny_tensors();
  // A fourth block: the second one's weights once more.
  std::vector<TinyTensor> more;
  const std::string second = "model.layers.1.";
  for (const TinyTensor& tensor : tensors)
    if (tensor.name.starts_with(second))
      more.push_back({"model.layers.3." + tensor.name.substr(second.size()), tensor.shape, tensor.values});
  tensors.insert(tensors.end(), more.begin(), more.end());
  const auto find = [&](const std::string& name) -> std::vector<float>& {
    for (TinyTensor& tensor : tensors)
      if (tensor.name == name) return tensor.values;
    std::abort();
  };
  std::vector<float>& embedding = find("model.embed_tokens.weight");
  for (size_t token = 0; token < 64; ++token) {
    embedding[token * 16 + kSpikeDim] = 0.0f;
    embedding[token * 16 + kMarkDim] = token == kSpikeToken ? 60.0f : 0.0f;
  }
  for (int layer = 0; layer < 4; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    std::vector<float>&gate = find(prefix + "mlp.gate_proj.weight"), &up = find(prefix + "mlp.up_proj.weight"),
    &down = find(prefix + "mlp.down_proj.weight"), &o = find(prefix + "self_attn.o_proj.weight");
    // Nothing but the neuron writes to the two dimensions.
    for (size_t i = 0; i < 16; ++i) o[kSpikeDim * 16 + i] = o[kMarkDim * 16 + i] = 0.0f;
    for (size_t i = 0; i < 24; ++i) down[kSpikeDim * 24 + i] = down[kMarkDim * 24 + i] = 0.0f;
    for (size_t i = 0; i < 16; ++i) {
      down[i * 24 + kSpikeNeuron] = 0.0f;
      gate[kSpikeNeuron * 16 + i] = up[kSpikeNeuron * 16 + i] = 0.0f;
    }
  }
  const auto neuron = [&](int layer, int64_t reads, float weight) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.";
    find(prefix + "gate_proj.weight")[static_cast<size_t>(kSpikeNeuron * 16 + reads)] = weight;
    find(prefix + "up_proj.weight")[static_cast<size_t>(kSpikeNeuron * 16 + reads)] = weight;
    return &find(prefix + "down_proj.weight")[static_cast<size_t>(kSpikeDim * 24 + kSpikeNeuron)];
  };
  for (const char* norm : {"model.layers.0.post_attention_layernorm.weight",
                           "model.layers.2.post_attention_layernorm.weight"}) {
    find(norm)[kSpikeDim] = 1.0f;
    find(norm)[kMarkDim] = 1.0f;
  }
  // After a norm the mark, and later the spike, is nearly all of its row: sqrt(16) = 4, and (20 * 4)^2 = 6,400.
  *neuron(0, kMarkDim, 20.0f) = 1.0f;
  *neuron(2, kSpikeDim, 20.0f) = -cancelled;
  return tensors;
}

inline void write_planted_model(const std::filesystem::path& folder, float cancelled) {
  std::filesystem::create_directories(folder);
  write_text(folder / "config.json", planted_config().dump());
  write_text(folder / "tokenizer.json", tiny_tokenizer().dump());
  write_tensors(folder / "model.safetensors", planted_tensors(cancelled));
}

}  // namespace spikescope::testing
