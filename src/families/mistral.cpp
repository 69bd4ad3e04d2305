// Mistral: LLaMA with a sliding window on all blocks.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  set_windows(a, c, c.integer_or("sliding_window", 0), [](int64_t) { return true; });
  return a;
}

}  // namespace

Family mistral_family() {
  return {"mistral", "Mistral 7B, Mistral Nemo", {"mistral"}, from_config, "model.", llama_names()};
}

}  // namespace spikescope
