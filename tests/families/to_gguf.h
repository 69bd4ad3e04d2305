// A Hugging Face checkpoint as llama.cpp's converter writes it: other names, q and k of LLaMA permuted, gains of Gemma
// whole, GPT-2's matrices turned over, experts stacked. All tensors in F32.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fixtures.h"
#include "io/gguf_builder.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace spikescope::testing {

struct PlainTensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
using PlainTensors = std::map<std::string, PlainTensor>;

inline PlainTensors read_all(const std::filesystem::path& folder) {
  const bool parts = std::filesystem::exists(folder / "model.safetensors.index.json");
  const SafetensorsFile file =
      read_safetensors(folder / (parts ? "model.safetensors.index.json" : "model.safetensors"));
  PlainTensors all;
  for (const TensorInfo& tensor : file.tensors.tensors())
    all[tensor.name] = {{tensor.shape.begin(), tensor.shape.end()}, read_tensor(tensor)};
  return all;
}

/// [a, b] -> [b, a].
inline void turn_over(PlainTensor& matrix) {
  const uint64_t rows = matrix.shape[0], columns = matrix.shape[1];
  const std::vector<float> before = matrix.values;
  for (uint64_t row = 0; row < rows; ++row)
    for (uint64_t column = 0; column < columns; ++column)
      matrix.values[column * rows + row] = before[row * columns + column];
  matrix.shape = {columns, rows};
}

/// Rows 0 .. n/2 - 1 and n/2 .. n - 1 of each head by turns.
inline void interleave_heads(PlainTensor& tensor, uint64_t heads) {
  const uint64_t rows = tensor.shape[0], columns = tensor.values.size() / rows, half = rows / heads / 2;
  const std::vector<float> before = tensor.values;
  for (uint64_t row = 0; row < rows; ++row) {
    const uint64_t in_half = row % half, second = row / half % 2, first_of_head = row - row % (2 * half);
    std::copy_n(before.begin() + static_cast<int64_t>(row * columns), columns,
                tensor.values.begin() + static_cast<int64_t>((first_of_head + 2 * in_half + second) * columns));
  }
}

/// Replaces every `experts.E.` in names by `exps.`: one tensor [experts, out, in].
inline void stack_experts(PlainTensors& tensors) {
  PlainTensors stacked;
  for (uint64_t expert = 0;; ++expert) {
    const std::string part = ".experts." + std::to_string(expert) + ".";
    bool found = false;
    for (auto entry = tensors.begin(); entry != tensors.end();) {
      const size_t at = entry->first.find(part);
      if (at == std::string::npos) {
        ++entry;
        continue;
      }
      found = true;
      PlainTensor& all = stacked[entry->first.substr(0, at) + ".exps." + entry->first.substr(at + part.size())];
      all.values.insert(all.values.end(), entry->second.values.begin(), entry->second.values.end());
      all.shape = {expert + 1, entry->second.shape[0], entry->second.shape[1]};
      entry = tensors.erase(entry);
    }
    if (!found) break;
  }
  tensors.merge(stacked);
}

/// What llama.cpp calls a tensor: each part of the name that is in the table replaced, longer ones first.
inline std::string gguf_name(std::string name, bool four_norms) {
  for (const char* prefix : {"model.", "transformer."})
    if (name.starts_with(prefix)) name.erase(0, std::string(prefix).size());
  const std::vector<std::pair<std::string, std::string>> parts = {
      {"layers.", "blk."},
      {"h.", "blk."},
      {"embed_tokens", "token_embd"},
      {"wte", "token_embd"},
      {"wpe", "position_embd"},
      {"lm_head", "output"},
      {"input_layernorm", "attn_norm"},
      {"ln_1", "attn_norm"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.qkv_proj", "attn_qkv"},
      {"attn.c_attn", "attn_qkv"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"},
      {"self_attn.o_proj", "attn_output"},
      {"attn.c_proj", "attn_output"},
      {"post_attention_layernorm", four_norms ? "post_attention_norm" : "ffn_norm"},
      {"pre_feedforward_layernorm", "ffn_norm"},
      {"post_feedforward_layernorm", "post_ffw_norm"},
      {"ln_2", "ffn_norm"},
      {"mlp.gate_up_proj", "ffn_up"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
      {"mlp.c_fc", "ffn_up"},
      {"mlp.c_proj", "ffn_down"},
      {"block_sparse_moe.gate", "ffn_gate_inp"},
      {"block_sparse_moe.exps.w1", "ffn_gate_exps"},
      {"block_sparse_moe.exps.w2", "ffn_down_exps"},
      {"block_sparse_moe.exps.w3", "ffn_up_exps"},
      {"ln_f", "output_norm"},
  };
  for (const auto& [from, to] : parts) {
    const size_t at = name.find(from);
    const bool whole = at == 0 || (at != std::string::npos && name[at - 1] == '.');
    if (whole) name.replace(at, from.size(), to);
  }
  return name.starts_with("norm.") ? "output_" + name : name;
}

/// The metadata that the converter takes from config.json under the same meaning for all architectures.
inline void add_metadata(GgufBuilder& file, const Json& config, const std::string& architecture) {
  const auto value = [&](const std::vector<const char*>& keys) {
    for (const char* key : keys)
      if (config.contains(key) && !config[key].is_null()) return config[key];
    return Json();
  };
  const std::vector<std::pair<const char*, std::vector<const char*>>> sizes = {
      {"vocab_size", {"vocab_size"}},
      {"context_length", {"max_position_embeddings", "n_positions"}},
      {"embedding_length", {"hidden_size", "n_embd"}},
      {"block_count", {"num_hidden_layers", "n_layer"}},
      {"feed_forward_length", {"intermediate_size"}},
      {"attention.head_count", {"num_attention_heads", "n_head"}},
      {"attention.head_count_kv", {"num_key_value_heads"}},
      {"attention.key_length", {"head_dim"}},
      {"attention.value_length", {"head_dim"}},
      {"attention.sliding_window", {"sliding_window"}},
      {"expert_count", {"num_local_experts"}},
      {"expert_used_count", {"num_experts_per_tok"}},
  };
  const std::vector<std::pair<const char*, std::vector<const char*>>> numbers = {
      {"attention.layer_norm_rms_epsilon", {"rms_norm_eps"}},
      {"attention.layer_norm_epsilon", {"layer_norm_epsilon"}},
      {"attn_logit_softcapping", {"attn_logit_softcapping"}},
      {"final_logit_softcapping", {"final_logit_softcapping"}},
  };
  file.add("general.architecture", architecture);
  for (const auto& [to, from] : sizes)
    if (const Json found = value(from); !found.is_null()) file.add(architecture + "." + to, found.get<uint32_t>());
  for (const auto& [to, from] : numbers)
    if (const Json found = value(from); !found.is_null()) file.add(architecture + "." + to, found.get<float>());
}

}  // namespace spikescope::testing
