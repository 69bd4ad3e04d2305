// Qwen 3: LLaMA with an RMSNorm on each head's query and key.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  a.qk_norm = QkNorm::head;
  const int64_t first = c.integer_or("max_window_layers", 0), window = c.integer_or("sliding_window", 0);
  set_windows(a, c, c.flag_or("use_sliding_window", false) ? window : 0,
              [first](int64_t layer) { return layer >= first; });
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = usual_gguf(c, tensors);
  a.qk_norm = QkNorm::head;
  a.ropes = {read_gguf_rope(c, tensors, c.integer_or("rope.dimension_count", a.head_dim), a.context_length)};
  return a;
}

}  // namespace

Family qwen3_family() {
  return {"qwen3", "Qwen 3 (dense)", {"qwen3"}, from_config, "model.", llama_names(), {"qwen3"}, from_gguf};
}

}  // namespace spikescope
