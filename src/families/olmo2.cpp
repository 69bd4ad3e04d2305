// OLMo 2 (arXiv 2501.00656): LLaMA with norms of what attention and MLP give, not of what they read, and an RMSNorm
// over all queries and all keys.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  a.norm_places = NormPlaces::branch;
  a.qk_norm = QkNorm::all;
  return a;
}

}  // namespace

Family olmo2_family() {
  return {"olmo2",
          "OLMo 2",
          {"olmo2"},
          from_config,
          "model.",
          with(llama_names(), {{Role::ln1_post, "model.layers.{}.post_attention_layernorm.weight"},
                               {Role::ln2_post, "model.layers.{}.post_feedforward_layernorm.weight"}})};
}

}  // namespace spikescope
