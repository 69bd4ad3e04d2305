// Gemma 3's text model (arXiv 2503.19786): Gemma 2 with an RMSNorm on each head's query and key in place of the soft
// cap, and one block in six that sees everything, with a RoPE of its own.

#include <cmath>

#include "base/fail.h"
#include "families/gemma_like.h"

namespace spikescope {
namespace {

constexpr int kLocal = 0, kGlobal = 1;  // of Architecture::ropes

using Slides = std::function<bool(int64_t layer)>;

/// All but one block in `pattern`.
Slides but_one_in(int64_t pattern, const Config& c) {
  if (pattern < 1) fail("{}: the pattern of sliding blocks is {}; expected 1 or more", c.what(), pattern);
  return [pattern](int64_t layer) { return (layer + 1) % pattern != 0; };
}

Architecture gemma3(Architecture a, const Config& c, int64_t window, const Slides& slides) {
  a.norm_places = NormPlaces::sandwich;
  a.qk_norm = QkNorm::head;
  set_windows(a, c, window, slides);
  for (BlockPlan& block : a.blocks) block.rope = block.window > 0 ? kLocal : kGlobal;
  return a;
}

/// Inside a model for texts and images, the config leaves out what it shares with the 4B one.
Json with_defaults(Json config) {
  const Json defaults = {{"num_attention_heads", 8}, {"num_key_value_heads", 4},
                         {"head_dim", 256},          {"query_pre_attn_scalar", 256},
                         {"vocab_size", 262208},     {"max_position_embeddings", 131072}};
  for (const auto& [key, value] : defaults.items())
    if (!config.contains(key)) config[key] = value;
  return config;
}

Architecture from_config(const Config& given, const TensorTable&) {
  const Json json = with_defaults(given.json());
  const Config c(json, given);
  const int64_t window = c.integer_or("sliding_window", 4096);
  if (window < 1) c.fail_value("sliding_window", "1 or more");
  const int64_t pattern = c.integer_or("sliding_window_pattern", c.integer_or("_sliding_window_pattern", 6));
  Architecture a = gemma3(gemma_like(c), c, window, but_one_in(pattern, c));
  a.attention_scale = 1.0 / std::sqrt(c.number_or("query_pre_attn_scalar", static_cast<double>(a.head_dim)));
  a.attention_softcap = c.number_or("attn_logit_softcapping", 0.0);
  a.logit_softcap = c.number_or("final_logit_softcapping", 0.0);
  const double local_theta = c.number_or("rope_local_base_freq", 10000.0);
  const Config parameters = c.object_or_empty("rope_parameters");
  if (parameters.has("full_attention")) {
    const Config local = parameters.object_or_empty("sliding_attention");
    const Config global = parameters.object_or_empty("full_attention");
    a.ropes = {read_rope_parameters(local, local_theta, a.head_dim, a.context_length),
               read_rope_parameters(global, 1e6, a.head_dim, a.context_length)};
    return a;
  }
  const Json none = Json::object();
  a.ropes = {read_rope_parameters(Config(none, c.what()), local_theta, a.head_dim, a.context_length),
             read_rope_parameters(c.object_or_empty("rope_scaling"), c.number_or("rope_theta", 1e6), a.head_dim,
                                  a.context_length)};
  return a;
}

/// A number as in config.json, a flag for each block, or (in most files) nothing.
Slides gguf_slides(const Config& c, int64_t layers) {
  const Json* pattern = c.find("attention.sliding_window_pattern");
  if (!pattern || !pattern->is_array()) return but_one_in(c.integer_or("attention.sliding_window_pattern", 6), c);
  return [flags = c.flags_or_none("attention.sliding_window_pattern", layers)](int64_t layer) {
    return flags[static_cast<size_t>(layer)];
  };
}

Architecture from_gguf(const Config& c, const TensorTable& tensors) {
  Architecture a = gemma_like_gguf(c, tensors);
  // No window: the model has none.
  a = gemma3(std::move(a), c, c.integer_or("attention.sliding_window", 0), gguf_slides(c, a.n_layers));
  a.logit_softcap = c.number_or("final_logit_softcapping", 0.0);
  // The metadata lack the scale; the 27B model alone has another one than its heads' size gives.
  constexpr int64_t kLayersOf27B = 62;
  if (a.n_layers == kLayersOf27B)
    a.attention_scale = 1.0 / std::sqrt(static_cast<double>(a.d_model) / static_cast<double>(a.n_heads));
  const Json none = Json::object();
  a.ropes = {read_rope_parameters(Config(none, c.what()), c.number_or("rope.freq_base_swa", 10000.0), a.head_dim,
                                  a.context_length),
             read_gguf_rope(c, tensors, a.head_dim, a.context_length)};
  return a;
}

}  // namespace

Family gemma3_family() {
  return {"gemma3_text",   "Gemma 3 (text)",
          {"gemma3_text"}, from_config,
          "model.",        sandwich_names(),
          {"gemma3"},      from_gguf,
          false,           {"language_model.model.", "model.language_model."}};
}

}  // namespace spikescope
