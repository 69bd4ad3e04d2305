// SmolLM 3: LLaMA without RoPE in every fourth block.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = llama_like(c);
  set_windows(a, c, c.flag_or("use_sliding_window", false) ? c.integer_or("sliding_window", 0) : 0,
              [](int64_t) { return true; });
  const int64_t interval = c.integer_or("no_rope_layer_interval", 4);
  if (interval < 1) c.fail_value("no_rope_layer_interval", "1 or more");
  const std::vector<int64_t> turns = c.integers_or_none("no_rope_layers", a.n_layers);
  for (size_t layer = 0; layer < a.blocks.size(); ++layer) {
    // The key's values say where RoPE is, whatever its name.
    const bool rope = turns.empty() ? (static_cast<int64_t>(layer) + 1) % interval != 0 : turns[layer] != 0;
    if (!rope) a.blocks[layer].rope = -1;
  }
  return a;
}

}  // namespace

Family smollm3_family() { return {"smollm3", "SmolLM 3", {"smollm3"}, from_config, "model.", llama_names()}; }

}  // namespace spikescope
