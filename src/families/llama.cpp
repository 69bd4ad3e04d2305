// LLaMA 1 to 3, and the many models with its block: pre-norm RMSNorm, RoPE, grouped-query attention, SwiGLU.

#include <array>
#include <cmath>

#include "base/fail.h"
#include "families/family.h"
#include "families/rope_config.h"

namespace spikescope {
namespace {

constexpr std::array<std::string_view, 1> kModelTypes = {"llama"};
constexpr std::array<std::string_view, 1> kGgufArchitectures = {"llama"};

constexpr std::array kNames = {
    RoleName{Role::token_embedding, "model.embed_tokens.weight", "token_embd.weight"},
    RoleName{Role::ln1, "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    RoleName{Role::w_q, "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    RoleName{Role::b_q, "model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
    RoleName{Role::w_k, "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    RoleName{Role::b_k, "model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
    RoleName{Role::w_v, "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    RoleName{Role::b_v, "model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    RoleName{Role::w_o, "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    RoleName{Role::b_o, "model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    RoleName{Role::ln2, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    RoleName{Role::w_gate, "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    RoleName{Role::b_gate, "model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
    RoleName{Role::w_up, "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    RoleName{Role::b_up, "model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
    RoleName{Role::w_down, "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    RoleName{Role::b_down, "model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
    RoleName{Role::ln_final, "model.norm.weight", "output_norm.weight"},
    RoleName{Role::unembedding, "lm_head.weight", "output.weight"},
};

Activator activation(const std::string& name, const std::string& what) {
  constexpr std::array<std::pair<std::string_view, Activator>, 6> kActivations = {{
      {"silu", Activator::silu},
      {"swish", Activator::silu},
      {"gelu", Activator::gelu},
      {"gelu_new", Activator::gelu_tanh},
      {"gelu_pytorch_tanh", Activator::gelu_tanh},
      {"relu", Activator::relu},
  }};
  for (const auto& [known, activator] : kActivations)
    if (known == name) return activator;
  fail("{}: activation 'hidden_act': '{}' is not supported; expected silu, gelu, gelu_pytorch_tanh or relu", what,
       name);
}

Architecture from_config(const Json& config, const std::string& what) {
  Architecture a;
  a.n_layers = json_get<int64_t>(config, "num_hidden_layers", what);
  a.d_model = json_get<int64_t>(config, "hidden_size", what);
  a.n_heads = json_get<int64_t>(config, "num_attention_heads", what);
  a.n_kv_heads = json_get_or<int64_t>(config, "num_key_value_heads", a.n_heads, what);
  a.head_dim = json_get_or<int64_t>(config, "head_dim", a.n_heads > 0 ? a.d_model / a.n_heads : 0, what);
  a.mlp_width = json_get<int64_t>(config, "intermediate_size", what);
  a.vocabulary = json_get<int64_t>(config, "vocab_size", what);
  a.context_length = json_get_or<int64_t>(config, "max_position_embeddings", 2048, what);
  a.norm_eps = json_get_or<double>(config, "rms_norm_eps", 1e-6, what);
  a.activation = activation(json_get_or<std::string>(config, "hidden_act", "silu", what), what);
  a.attention_bias = json_get_or<bool>(config, "attention_bias", false, what);
  a.attention_out_bias = a.attention_bias;
  a.mlp_bias = json_get_or<bool>(config, "mlp_bias", false, what);
  a.tied_embeddings = json_get_or<bool>(config, "tie_word_embeddings", false, what);
  validate(a, what);  // before anything is made of these sizes
  a.rope = read_rope(config, a.head_dim, a.context_length, what);
  return a;
}

Architecture from_gguf(const Json& metadata, const TensorTable& tensors, const std::string& what) {
  const auto get = [&](std::string_view key) { return json_get<int64_t>(metadata, "llama." + std::string(key), what); };
  const auto get_or = [&](std::string_view key, int64_t fallback) {
    return json_get_or<int64_t>(metadata, "llama." + std::string(key), fallback, what);
  };
  if (get_or("expert_count", 0) > 0) fail("{}: a mixture of experts (llama.expert_count) is not supported yet", what);
  Architecture a;
  a.n_layers = get("block_count");
  a.d_model = get("embedding_length");
  a.n_heads = get("attention.head_count");
  a.n_kv_heads = get_or("attention.head_count_kv", a.n_heads);
  a.head_dim = get_or("attention.key_length", a.n_heads > 0 ? a.d_model / a.n_heads : 0);
  if (get_or("attention.value_length", a.head_dim) != a.head_dim)
    fail("{}: llama.attention.value_length differs from the key length {}, which is not supported", what, a.head_dim);
  a.mlp_width = get("feed_forward_length");
  const TensorInfo& embedding = tensors.require("token_embd.weight");
  a.vocabulary = get_or("vocab_size", embedding.shape[0]);
  a.context_length = get("context_length");
  a.norm_eps = json_get<double>(metadata, "llama.attention.layer_norm_rms_epsilon", what);
  a.attention_bias = tensors.find("blk.0.attn_q.bias") != nullptr;
  a.attention_out_bias = tensors.find("blk.0.attn_output.bias") != nullptr;
  a.mlp_bias = tensors.find("blk.0.ffn_up.bias") != nullptr;
  a.tied_embeddings = tensors.find("output.weight") == nullptr;
  validate(a, what);  // before anything is made of these sizes
  a.rope = read_gguf_rope(metadata, "llama", get_or("rope.dimension_count", a.head_dim), a.context_length, what);
  if (const TensorInfo* factors = tensors.find("rope_freqs.weight")) {
    // LLaMA 3's scaling as llama.cpp's converter stores it: a divisor for each pair.
    const std::vector<float> divisors = read_tensor(*factors);
    if (divisors.size() != a.rope.frequencies.size())
      fail("{}: tensor 'rope_freqs.weight' has {} values; expected {}", what, divisors.size(),
           a.rope.frequencies.size());
    for (size_t i = 0; i < divisors.size(); ++i) {
      if (!(divisors[i] > 0.0f) || !std::isfinite(divisors[i]))
        fail("{}: tensor 'rope_freqs.weight' holds {} at [{}]; expected a positive divisor", what, divisors[i], i);
      a.rope.frequencies[i] /= divisors[i];
    }
    a.rope.scaling = "factors of rope_freqs.weight";
  }
  return a;
}

}  // namespace

const Family kLlama = {"llama", kModelTypes, kGgufArchitectures, from_config, from_gguf, kNames, true};

}  // namespace spikescope
