#include "families/rope_config.h"

#include <cmath>

#include "base/fail.h"
#include "model/rope.h"

namespace spikescope {
namespace {

/// A factor or length that must be positive.
double positive(const Config& config, std::string_view key, double value) {
  if (!(value > 0.0)) fail("{}: RoPE parameter '{}' is {}; expected a positive number", config.what(), key, value);
  return value;
}
double positive(const Config& config, std::string_view key) { return positive(config, key, config.number(key)); }
double positive_or(const Config& config, std::string_view key, double fallback) {
  return positive(config, key, config.number_or(key, fallback));
}

Rope unscaled(const Config& config, double theta, int64_t dims) {
  if (dims <= 0 || dims % 2 != 0 || dims > 65536)
    fail("{}: RoPE turns {} channels a head; expected an even number above 0", config.what(), dims);
  Rope rope;
  rope.theta = positive(config, "rope_theta", theta);
  rope.dims = dims;
  rope.frequencies = rope_frequencies(theta, dims);
  return rope;
}

void read_linear(Rope& rope, const Config& p, int64_t) { scale_linear(rope, positive(p, "factor")); }

/// Changes frequencies only for prompts beyond the context, which are refused.
void read_dynamic(Rope& rope, const Config& p, int64_t) {
  rope.scaling = fmt::format("dynamic x{}", p.number("factor"));
}

void read_llama3(Rope& rope, const Config& p, int64_t) {
  const double low = positive(p, "low_freq_factor"), high = positive(p, "high_freq_factor");
  if (high <= low) fail("{}: RoPE high_freq_factor {} must be above low_freq_factor {}", p.what(), high, low);
  scale_llama3(rope, positive(p, "factor"), low, high, positive(p, "original_max_position_embeddings"));
}

/// YaRN's factor on cos and sin where the model's authors scale it by `mscale` (arXiv 2309.00071, as DeepSeek extends
/// it).
double mscale(double factor, double scale) { return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

void read_yarn(Rope& rope, const Config& p, int64_t context_length) {
  const double context = static_cast<double>(context_length);
  Yarn yarn;
  yarn.original_context = positive_or(p, "original_max_position_embeddings", context);
  yarn.factor = positive_or(p, "factor", context / yarn.original_context);
  yarn.beta_fast = positive_or(p, "beta_fast", yarn.beta_fast);
  yarn.beta_slow = positive_or(p, "beta_slow", yarn.beta_slow);
  const double m = p.number_or("mscale", 0.0), all = p.number_or("mscale_all_dim", 0.0);
  yarn.attention_factor = p.number_or("attention_factor", 0.0);
  if (yarn.attention_factor <= 0.0 && m > 0.0 && all > 0.0)
    yarn.attention_factor = mscale(yarn.factor, m) / mscale(yarn.factor, all);
  scale_yarn(rope, yarn);
}

void read_longrope(Rope& rope, const Config& p, int64_t context_length) {
  const double original = positive_or(p, "original_max_position_embeddings", static_cast<double>(context_length));
  if (!(original >= 2.0 && original <= 1e12)) p.fail_value("original_max_position_embeddings", "2 or more");
  const double factor = positive_or(p, "factor", static_cast<double>(context_length) / original);
  const auto factors = [&](std::string_view key) {
    const std::vector<double> values = p.numbers_or_none(key, rope.dims / 2);
    if (values.empty()) p.fail_value(key, fmt::format("a list of {} factors", rope.dims / 2));
    for (const double value : values) positive(p, key, value);
    return values;
  };
  scale_longrope(rope, factors("short_factor"), factors("long_factor"), factor, static_cast<int64_t>(original),
                 p.number_or("attention_factor", 0.0));
}

struct Scaling {
  std::string_view type;
  void (*read)(Rope& rope, const Config& parameters, int64_t context_length);
};
constexpr Scaling kScalings[] = {
    {"default", [](Rope&, const Config&, int64_t) {}},
    {"linear", read_linear},
    {"dynamic", read_dynamic},
    {"llama3", read_llama3},
    {"yarn", read_yarn},
    {"longrope", read_longrope},
    {"su", read_longrope},  // its older name
};

/// The parameters, wherever the config has them. The context before scaling may stand outside of them.
Json rope_parameters(const Config& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Config found = config.object_or_empty(key);
    if (found.json().empty()) continue;
    Json parameters = found.json();
    if (const Json* original = config.find("original_max_position_embeddings"))
      if (!parameters.contains("original_max_position_embeddings"))
        parameters["original_max_position_embeddings"] = *original;
    return parameters;
  }
  return Json::object();
}

}  // namespace

Rope read_rope_parameters(const Config& p, double theta, int64_t dims, int64_t context_length) {
  Rope rope = unscaled(p, p.number_or("rope_theta", theta), dims);
  const std::string type = p.text_or("rope_type", p.text_or("type", "default"));
  for (const Scaling& scaling : kScalings)
    if (scaling.type == type) {
      scaling.read(rope, p, context_length);
      return rope;
    }
  p.fail_value(p.has("rope_type") ? "rope_type" : "type", "default, linear, dynamic, llama3, yarn or longrope");
}

Rope read_rope(const Config& config, int64_t dims, int64_t context_length) {
  const double theta = config.number_or("rope_theta", config.number_or("rotary_emb_base", 10000.0));
  const Json parameters = rope_parameters(config);
  return read_rope_parameters(Config(parameters, config.what()), theta, dims, context_length);
}

int64_t rotated_channels(const Config& config, int64_t head_dim) {
  const Json parameters = rope_parameters(config);
  const double outside = config.number_or("partial_rotary_factor", config.number_or("rotary_pct", 1.0));
  const double share = Config(parameters, config.what()).number_or("partial_rotary_factor", outside);
  if (!(share > 0.0 && share <= 1.0))
    fail("{}: 'partial_rotary_factor' is {}; expected a share from 0 to 1", config.what(), share);
  return static_cast<int64_t>(static_cast<double>(head_dim) * share);
}

double yarn_attention_scale(const Config& config) {
  const Json json = rope_parameters(config);
  const Config p(json, config.what());
  const double all = p.number_or("mscale_all_dim", 0.0);
  if (all <= 0.0 || p.text_or("rope_type", p.text_or("type", "default")) == "default") return 1.0;
  const double m = mscale(p.number_or("factor", 1.0), all);
  return m * m;
}

Rope read_gguf_rope(const Config& metadata, const TensorTable& tensors, int64_t dims, int64_t context_length) {
  Rope rope = unscaled(metadata, metadata.number_or("rope.freq_base", 10000.0), dims);
  // A factor without a type is linear; older files call it scale_linear. 0: none.
  const std::string type = metadata.text_or("rope.scaling.type", "linear");
  const double given = metadata.number_or("rope.scaling.factor", metadata.number_or("rope.scale_linear", 0.0));
  const double factor = given == 0.0 ? 1.0 : positive(metadata, "rope.scaling.factor", given);
  if (type == "linear") {
    if (factor != 1.0) scale_linear(rope, factor);
  } else if (type == "yarn") {
    Yarn yarn;
    yarn.factor = factor;
    yarn.original_context =
        positive_or(metadata, "rope.scaling.original_context_length", static_cast<double>(context_length));
    yarn.beta_fast = positive_or(metadata, "rope.scaling.yarn_beta_fast", yarn.beta_fast);
    yarn.beta_slow = positive_or(metadata, "rope.scaling.yarn_beta_slow", yarn.beta_slow);
    // yarn_attn_factor is the whole factor; attn_factor multiplies the usual one.
    yarn.attention_factor = metadata.number_or(
        "rope.scaling.yarn_attn_factor", metadata.number_or("rope.scaling.attn_factor", 0.0) * mscale(factor, 1.0));
    scale_yarn(rope, yarn);
  } else if (type != "none" && type != "longrope") {
    metadata.fail_value("rope.scaling.type", "none, linear, yarn or longrope");
  }
  const auto divisors = [&](const char* name) {
    std::vector<double> values;
    const TensorInfo* tensor = tensors.find(name);
    if (!tensor) return values;
    for (const float value : read_tensor(*tensor)) values.push_back(value);
    if (values.size() != rope.frequencies.size())
      fail("{}: tensor '{}' has {} values; expected {}", metadata.what(), name, values.size(), rope.frequencies.size());
    for (size_t i = 0; i < values.size(); ++i)
      if (!(values[i] > 0.0) || !std::isfinite(values[i]))
        fail("{}: tensor '{}' holds {} at [{}]; expected a positive divisor", metadata.what(), name, values[i], i);
    return values;
  };
  // LLaMA 3's scaling as llama.cpp's converter stores it: a divisor for each pair.
  if (const std::vector<double> all = divisors("rope_freqs.weight"); !all.empty()) {
    for (size_t i = 0; i < all.size(); ++i) rope.frequencies[i] /= all[i];
    rope.scaling = "factors of rope_freqs.weight";
  }
  const std::vector<double> near = divisors("rope_factors_short.weight"), far = divisors("rope_factors_long.weight");
  if (!near.empty() && !far.empty()) {
    const int64_t original = metadata.integer_or("rope.scaling.original_context_length", context_length);
    if (original < 2) metadata.fail_value("rope.scaling.original_context_length", "2 or more");
    scale_longrope(rope, near, far, static_cast<double>(context_length) / static_cast<double>(original), original,
                   metadata.number_or("rope.scaling.attn_factor", 0.0));
  }
  return rope;
}

void set_windows(Architecture& a, const Config& config, int64_t window,
                 const std::function<bool(int64_t layer)>& slides) {
  const std::vector<std::string> types = config.texts_or_none("layer_types", a.n_layers);
  a.blocks.resize(static_cast<size_t>(a.n_layers));
  if (window < 0) fail("{}: the sliding window is {}; expected 1 or more", config.what(), window);
  for (size_t layer = 0; layer < a.blocks.size(); ++layer) {
    if (!types.empty() && types[layer] != "full_attention" && types[layer] != "sliding_attention")
      fail("{}: layer_types[{}] is '{}', which is not supported; expected full_attention or sliding_attention",
           config.what(), layer, types[layer]);
    const bool sliding = types.empty() ? slides(static_cast<int64_t>(layer)) : types[layer] == "sliding_attention";
    if (sliding) a.blocks[layer].window = window;
  }
}

}  // namespace spikescope
