// Gemma 2 (arXiv 2408.00118): Gemma with norms before and after attention and MLP, soft caps on scores and logits, and
// a sliding window on every second block.

#include <cmath>

#include "families/gemma_like.h"

namespace spikescope {
namespace {

bool slides(int64_t layer) { return layer % 2 == 0; }

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = gemma_like(c);
  a.norm_places = NormPlaces::sandwich;
  a.attention_scale = 1.0 / std::sqrt(c.number_or("query_pre_attn_scalar", static_cast<double>(a.head_dim)));
  a.attention_softcap = c.number_or("attn_logit_softcapping", 0.0);
  a.logit_softcap = c.number_or("final_logit_softcapping", 0.0);
  a.ropes = {read_rope(c, a.head_dim, a.context_length)};
  set_windows(a, c, c.integer_or("sliding_window", 4096), slides);
  return a;
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = gemma_like_gguf(c, tensors);
  a.norm_places = NormPlaces::sandwich;
  // The metadata lack the scale; the 27B model alone has another one than its heads' size gives.
  constexpr int64_t kLayersOf27B = 46;
  if (a.n_layers == kLayersOf27B)
    a.attention_scale = 1.0 / std::sqrt(static_cast<double>(a.d_model) / static_cast<double>(a.n_heads));
  a.attention_softcap = c.number_or("attn_logit_softcapping", 50.0);
  a.logit_softcap = c.number_or("final_logit_softcapping", 30.0);
  a.ropes = {read_gguf_rope(c, tensors, a.head_dim, a.context_length)};
  set_windows(a, c, c.integer_or("attention.sliding_window", 4096), slides);
  return a;
}

}  // namespace

Family gemma2_family() {
  return {"gemma2", "Gemma 2", {"gemma2"}, from_config, "model.", sandwich_names(), {"gemma2"}, from_gguf};
}

}  // namespace spikescope
