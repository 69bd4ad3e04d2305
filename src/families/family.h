// What a model family is: how its config becomes an Architecture, and what its tensors are called. One line of the
// table in families/families.cpp each; families/<name>.cpp is a page of mapping, with no forward pass of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "families/config.h"
#include "io/tensor_table.h"
#include "model/architecture.h"
#include "model/weights.h"

namespace spikescope {

/// How a weight lies in its tensor.
enum class Pack : uint8_t {
  alone,
  transposed,      ///< [in, out]
  qkv,             ///< W_q, W_k and W_v one below the other
  qkv_transposed,  ///< the same, [in, out]
  qkv_by_group,    ///< for each KV head: its query heads, its key head, its value head
  gate_up,         ///< W_gate above W_up; W_up alone where there is no gate
  stacked,         ///< [experts, out, in]
  patches,         ///< [d, channels, side, side]
};

/// A tensor's name: the first "{}" stands for the layer, the second for the expert; of names between "|" the first that
/// the checkpoint has counts. Empty: does not occur.
struct TensorName {
  std::string_view pattern;
  Pack pack = Pack::alone;

  constexpr TensorName() = default;
  constexpr TensorName(const char* pattern, Pack pack = Pack::alone) : pattern(pattern), pack(pack) {}
};

struct RoleName {
  Role role;
  TensorName huggingface;
  TensorName gguf = {};
};

/// Names of many roles; of two entries for one role the later counts.
using RoleNames = std::vector<RoleName>;
/// `names` and, overriding them, `more`.
RoleNames with(RoleNames names, const RoleNames& more);

struct Family {
  std::string_view name;                      ///< "llama"
  std::string_view title;                     ///< for people: "LLaMA 1 to 3, SmolLM 2, Yi, ..."
  std::vector<std::string_view> model_types;  ///< `model_type` in config.json
  /// From config.json, as transformers 4 or 5 writes it. `tensors` tells what the config does not.
  Architecture (*from_config)(const Config& config, const TensorTable& tensors) = nullptr;
  /// Of the Hugging Face names. A base model saved alone lacks it; others are in `other_prefixes`.
  std::string_view prefix;
  RoleNames names;  ///< the first one's tensor tells which prefix a checkpoint has
  std::vector<std::string_view> gguf_architectures = {};  ///< `general.architecture` in GGUF
  Architecture (*from_gguf)(const Config& metadata, const TensorTable& tensors) = nullptr;
  bool gguf_permutes_qk = false;  ///< llama.cpp's converter stores q and k rows as interleaved pairs
  std::vector<std::string_view> other_prefixes = {};
};

/// All families.
std::span<const Family> families();
/// null when there is none of this name.
const Family* find_family(std::string_view name);

// One file each, named like the family.
Family bert_family();
Family bloom_family();
Family clip_text_family();
Family clip_vision_family();
Family deepseek_v2_family();
Family deepseek_v3_family();
Family deit_family();
Family dinov2_family();
Family falcon_family();
Family gemma_family();
Family gemma2_family();
Family gemma3_family();
Family gpt2_family();
Family gpt_neox_family();
Family llama_family();
Family mistral_family();
Family mixtral_family();
Family mpt_family();
Family olmo2_family();
Family opt_family();
Family phi3_family();
Family qwen2_family();
Family qwen3_family();
Family siglip_text_family();
Family siglip_vision_family();
Family smollm3_family();
Family stablelm_family();
Family vit_family();

}  // namespace spikescope
