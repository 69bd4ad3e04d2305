#include "families/huggingface_export.h"

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "families/choose.h"
#include "families/family.h"

namespace spikescope {
namespace {

struct Exported {
  std::string_view family, model_class;
  bool attention_bias;  ///< without being said
};
constexpr std::array kExported = {
    Exported{"llama", "LlamaForCausalLM", false},
    Exported{"qwen2", "Qwen2ForCausalLM", true},
    Exported{"qwen3", "Qwen3ForCausalLM", false},
};

}  // namespace

Json huggingface_config(const Architecture& a) {
  const auto found =
      std::find_if(kExported.begin(), kExported.end(), [&](const Exported& row) { return row.family == a.family; });
  const bool plain = a.ropes.size() == 1 && a.ropes[0].scaling == "none" && a.ropes[0].dims == a.head_dim &&
                     a.experts.count == 0 && a.v_dim() == a.head_dim && a.attention_softcap == 0.0;
  if (found == kExported.end() || !plain)
    fail(
        "{}: a config.json can be written for llama, qwen2 and qwen3 without scaled RoPE or experts; give the model's "
        "Hugging Face folder instead of a GGUF file",
        a.family);
  Json config = {{"architectures", {found->model_class}},
                 {"model_type", found->family},
                 {"hidden_act", "silu"},
                 {"hidden_size", a.d_model},
                 {"intermediate_size", a.mlp_width},
                 {"num_hidden_layers", a.n_layers},
                 {"num_attention_heads", a.n_heads},
                 {"num_key_value_heads", a.n_kv_heads},
                 {"head_dim", a.head_dim},
                 {"vocab_size", a.vocabulary},
                 {"max_position_embeddings", a.context_length},
                 {"rms_norm_eps", a.norm_eps},
                 {"rope_theta", a.ropes[0].theta},
                 {"tie_word_embeddings", a.tied_embeddings},
                 {"dtype", "bfloat16"}};
  if (!found->attention_bias) config["attention_bias"] = a.attention_bias;
  if (found->family == "llama") config["mlp_bias"] = a.mlp_bias;
  return config;
}

std::string huggingface_name(const Architecture& a, const WeightKey& key) {
  const TensorName& name = name_of(*find_family(a.family), key.role).huggingface;
  if (name.pack != Pack::alone || key.expert >= 0)
    fail(
        "{}: {} lies in a tensor with others in Hugging Face checkpoints, which cannot be written; give the model's "
        "Hugging Face folder instead of a GGUF file",
        a.family, role_name(key.role));
  std::string text(name.pattern.substr(0, name.pattern.find('|')));
  if (const size_t at = text.find("{}"); at != text.npos) text.replace(at, 2, std::to_string(key.layer));
  return text;
}

}  // namespace spikescope
