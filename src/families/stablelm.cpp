// StableLM: LLaMA with layer norms, and RoPE on a quarter of a head's channels.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  c.expect("qk_layernorm", false);
  Architecture a = llama_like(c);
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_eps = c.number_or("layer_norm_eps", 1e-5);
  a.attention_bias = c.flag_or("use_qkv_bias", false);
  a.attention_out_bias = false;
  a.parallel = a.shared_norm = c.flag_or("use_parallel_residual", false);
  return a;
}

}  // namespace

Family stablelm_family() {
  return {"stablelm", "StableLM 2 1.6B, StableLM 3B", {"stablelm"}, from_config, "model.", llama_names()};
}

}  // namespace spikescope
