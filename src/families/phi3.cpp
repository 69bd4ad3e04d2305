// Phi-3 and Phi-4: LLaMA with W_q, W_k, W_v in one tensor, and W_gate, W_up in another.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  set_windows(a, c, c.integer_or("sliding_window", 0), [](int64_t) { return true; });
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = usual_gguf(c, tensors);
  a.ropes = {read_gguf_rope(c, tensors, c.integer_or("rope.dimension_count", a.head_dim), a.context_length)};
  set_windows(a, c, c.integer_or("attention.sliding_window", 0), [](int64_t) { return true; });
  return a;
}

}  // namespace

Family phi3_family() {
  constexpr TensorName kQkv("model.layers.{}.self_attn.qkv_proj.weight", Pack::qkv);
  constexpr TensorName kGgufQkv("blk.{}.attn_qkv.weight", Pack::qkv);
  constexpr TensorName kGateUp("model.layers.{}.mlp.gate_up_proj.weight", Pack::gate_up);
  constexpr TensorName kGgufGateUp("blk.{}.ffn_up.weight", Pack::gate_up);
  return {"phi3",
          "Phi-3, Phi-3.5, Phi-4",
          {"phi3"},
          from_config,
          "model.",
          with(llama_names(), {{Role::w_q, kQkv, kGgufQkv},
                               {Role::w_k, kQkv, kGgufQkv},
                               {Role::w_v, kQkv, kGgufQkv},
                               {Role::w_gate, kGateUp, kGgufGateUp},
                               {Role::w_up, kGateUp, kGgufGateUp}}),
          {"phi3"},
          from_gguf};
}

}  // namespace spikescope
