// LLaMA 1 to 3, and the many models with its block: pre-norm RMSNorm, RoPE, grouped-query attention, SwiGLU. As GGUF
// also Mistral and Mixtral, which llama.cpp's converter writes as LLaMA.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) { return llama_like(c); }

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = usual_gguf(c, tensors);
  a.ropes = {read_gguf_rope(c, tensors, c.integer_or("rope.dimension_count", a.head_dim), a.context_length)};
  if (const int64_t experts = c.integer_or("expert_count", 0); experts > 0) {
    a.experts = {.count = experts, .per_token = c.integer("expert_used_count"), .width = a.mlp_width};
    for (BlockPlan& block : a.blocks) block.experts = true;
  }
  return a;
}

}  // namespace

Family llama_family() {
  return {"llama",   "LLaMA 1 to 3, SmolLM, SmolLM 2, Yi, TinyLlama",
          {"llama"}, from_config,
          "model.",  llama_names(),
          {"llama"}, from_gguf,
          true};
}

}  // namespace spikescope
