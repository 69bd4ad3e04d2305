// Mixtral: Mistral with a mixture of experts in every block (arXiv 2401.04088).

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  set_windows(a, c, c.integer_or("sliding_window", 0), [](int64_t) { return true; });
  a.experts = {.count = c.integer("num_local_experts"),
               .per_token = c.integer_or("num_experts_per_tok", 2),
               .width = a.mlp_width};
  for (BlockPlan& block : a.blocks) block.experts = true;
  return a;
}

}  // namespace

Family mixtral_family() {
  return {"mixtral", "Mixtral 8x7B, 8x22B", {"mixtral"}, from_config, "model.", llama_names()};
}

}  // namespace spikescope
