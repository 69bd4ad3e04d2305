// Qwen 2 and 2.5: LLaMA with biases on q, k and v.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  a.attention_bias = true;
  a.attention_out_bias = false;
  const int64_t first = c.integer_or("max_window_layers", 0), window = c.integer_or("sliding_window", 0);
  set_windows(a, c, c.flag_or("use_sliding_window", false) ? window : 0,
              [first](int64_t layer) { return layer >= first; });
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = usual_gguf(c, tensors);
  a.ropes = {read_gguf_rope(c, tensors, c.integer_or("rope.dimension_count", a.head_dim), a.context_length)};
  return a;
}

}  // namespace

Family qwen2_family() {
  return {"qwen2", "Qwen 2, Qwen 2.5", {"qwen2"}, from_config, "model.", llama_names(), {"qwen2"}, from_gguf};
}

}  // namespace spikescope
