#include "families/rope_config.h"

#include <cmath>

#include "base/fail.h"
#include "model/rope.h"

namespace spikescope {
namespace {

/// A factor or length that must be positive and finite.
double positive(double value, std::string_view key, const std::string& what) {
  if (!std::isfinite(value) || value <= 0.0)
    fail("{}: RoPE parameter '{}' is {}; expected a positive number", what, key, value);
  return value;
}

double number(const Json& object, std::string_view key, const std::string& what) {
  return positive(json_get<double>(object, key, what), key, what);
}
double number_or(const Json& object, std::string_view key, double fallback, const std::string& what) {
  return positive(json_get_or<double>(object, key, fallback, what), key, what);
}

Rope unscaled(double theta, int64_t dims, const std::string& what) {
  if (dims <= 0 || dims % 2 != 0 || dims > 65536)
    fail("{}: RoPE turns {} channels a head; expected an even number above 0", what, dims);
  Rope rope;
  rope.theta = theta;
  rope.dims = dims;
  rope.frequencies = rope_frequencies(theta, dims);
  return rope;
}

void scale_llama3_from(Rope& rope, const Json& scaling, const std::string& what) {
  const double low = number(scaling, "low_freq_factor", what), high = number(scaling, "high_freq_factor", what);
  if (high <= low) fail("{}: RoPE high_freq_factor {} must be above low_freq_factor {}", what, high, low);
  scale_llama3(rope, number(scaling, "factor", what), low, high,
               number(scaling, "original_max_position_embeddings", what));
}

/// YaRN's factor on cos and sin where the model's authors scale it by `mscale` (arXiv 2309.00071, as DeepSeek extends
/// it).
double mscale(double factor, double scale) { return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

void scale_yarn_from(Rope& rope, const Json& scaling, int64_t context_length, const std::string& what) {
  const double context = static_cast<double>(context_length);
  Yarn yarn;
  yarn.original_context = number_or(scaling, "original_max_position_embeddings", context, what);
  yarn.factor = number_or(scaling, "factor", context / yarn.original_context, what);
  yarn.beta_fast = number_or(scaling, "beta_fast", yarn.beta_fast, what);
  yarn.beta_slow = number_or(scaling, "beta_slow", yarn.beta_slow, what);
  const double m = json_get_or<double>(scaling, "mscale", 0.0, what);
  const double all = json_get_or<double>(scaling, "mscale_all_dim", 0.0, what);
  yarn.attention_factor = json_get_or<double>(scaling, "attention_factor", 0.0, what);
  if (yarn.attention_factor <= 0.0 && m > 0.0 && all > 0.0)
    yarn.attention_factor = mscale(yarn.factor, m) / mscale(yarn.factor, all);
  scale_yarn(rope, yarn);
}

}  // namespace

Rope read_rope(const Json& config, int64_t dims, int64_t context_length, const std::string& what) {
  const auto object = [&](const char* key) -> const Json* {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return nullptr;
    if (!found->is_object()) fail("{}: '{}' is a {}; expected an object", what, key, found->type_name());
    return &*found;
  };
  static const Json kNone = Json::object();
  const Json* parameters = object("rope_parameters");
  if (!parameters) parameters = object("rope_scaling");
  const Json& scaling = parameters ? *parameters : kNone;

  const double theta = number_or(scaling, "rope_theta", number_or(config, "rope_theta", 10000.0, what), what);
  Rope rope = unscaled(theta, dims, what);
  const std::string type =
      json_get_or<std::string>(scaling, "rope_type", json_get_or<std::string>(scaling, "type", "default", what), what);
  if (type == "default") return rope;
  if (type == "linear")
    scale_linear(rope, number(scaling, "factor", what));
  else if (type == "llama3")
    scale_llama3_from(rope, scaling, what);
  else if (type == "yarn")
    scale_yarn_from(rope, scaling, context_length, what);
  else
    fail("{}: RoPE scaling '{}' is not supported; expected default, linear, llama3 or yarn", what, type);
  return rope;
}

Rope read_gguf_rope(const Json& metadata, const std::string& architecture, int64_t dims, int64_t context_length,
                    const std::string& what) {
  const std::string prefix = architecture + ".rope.";
  Rope rope = unscaled(number_or(metadata, prefix + "freq_base", 10000.0, what), dims, what);
  const std::string type = json_get_or<std::string>(metadata, prefix + "scaling.type", "none", what);
  // Files from before scaling.type had scale_linear alone.
  const double linear = number_or(metadata, prefix + "scale_linear", 1.0, what);
  if (type == "none") {
    if (linear != 1.0) scale_linear(rope, linear);
    return rope;
  }
  const double factor = number(metadata, prefix + "scaling.factor", what);
  if (type == "linear") {
    scale_linear(rope, factor);
  } else if (type == "yarn") {
    Yarn yarn;
    yarn.factor = factor;
    yarn.original_context = number_or(metadata, prefix + "scaling.original_context_length",
                                      static_cast<double>(context_length) / factor, what);
    yarn.attention_factor =
        json_get_or<double>(metadata, prefix + "scaling.attn_factor", 0.0, what) * mscale(factor, 1.0);
    scale_yarn(rope, yarn);
  } else {
    fail("{}: RoPE scaling '{}' is not supported; expected none, linear or yarn", what, type);
  }
  return rope;
}

}  // namespace spikescope
