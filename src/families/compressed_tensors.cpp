#include "families/compressed_tensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "base/fail.h"
#include "io/printable.h"
#include "text/regex.h"

namespace spikescope {
namespace {

constexpr std::string_view kExpression = "re:";
/// Parts of a quantized matrix, and scales of its layer's inputs and outputs.
constexpr std::array<std::string_view, 9> kParts = {".weight_packed",    ".weight_scale", ".weight_zero_point",
                                                    ".weight_shape",     ".weight_g_idx", ".input_scale",
                                                    ".input_zero_point", ".output_scale", ".output_zero_point"};
constexpr int64_t kMostShape = int64_t{1} << 40;

const Json* member(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::vector<std::string> texts(const Json& object, std::string_view key, const std::string& what) {
  std::vector<std::string> values;
  const Json* array = member(object, key);
  if (!array) return values;
  if (!array->is_array()) fail("{}: expected an array of strings under '{}'", what, key);
  for (const Json& value : *array) {
    if (!value.is_string()) fail("{}: expected an array of strings under '{}'", what, key);
    values.push_back(value.get<std::string>());
  }
  return values;
}

/// Bits of whole numbers; floating-point formats are other kernels' business.
int read_bits(const Json& args, const std::string& what) {
  const auto type = json_get_or<std::string>(args, "type", "int", what);
  const auto bits = json_get_or<int64_t>(args, "num_bits", 8, what);
  if (type != "int" || bits < 1 || bits > 8)
    fail("{}: {} bits of type '{}' cannot be read, only whole numbers of 1 to 8 bits; use the original checkpoint",
         what, bits, printable(type, 40));
  return static_cast<int>(bits);
}

WeightFormat read_weights(const Json& args, bool packed, const std::string& what) {
  WeightFormat format{.bits = read_bits(args, what)};
  format.symmetric = json_get_or<bool>(args, "symmetric", true, what);
  format.packed = packed;
  const auto group = json_get_or<int64_t>(args, "group_size", 0, what);
  const auto strategy = json_get_or<std::string>(args, "strategy",
                                                 group > 0   ? "group"
                                                 : group < 0 ? "channel"
                                                             : "tensor",
                                                 what);
  const auto found = find_scope(strategy);
  if (!found)
    fail("{}: the strategy '{}' cannot be read (known: tensor, channel, group); use the original checkpoint", what,
         printable(strategy, 40));
  using Scope = WeightFormat::Scope;
  format.scope = *found;
  if (format.scope == Scope::group && group < 1) fail("{}: group_size is {}; expected 1 or more", what, group);
  if (format.scope == Scope::group) format.group = group;
  if (const Json* order = member(args, "actorder"); order && *order == "group")
    fail(
        "{}: columns are ordered by group (actorder 'group'), which cannot be read; use a checkpoint made with "
        "'weight' "
        "or without",
        what);
  return format;
}

ActivationFormat read_inputs(const Json& args, const std::string& what) {
  ActivationFormat format{.bits = read_bits(args, what)};
  format.symmetric = json_get_or<bool>(args, "symmetric", true, what);
  if (const Json* dynamic = member(args, "dynamic")) format.dynamic = !dynamic->is_boolean() || dynamic->get<bool>();
  format.strategy = json_get_or<std::string>(args, "strategy", format.dynamic ? "token" : "tensor", what);
  return format;
}

/// Names of modules as config_groups and ignore spell them.
class ModuleNames {
 public:
  ModuleNames(const std::vector<std::string>& names, const std::string& what) {
    for (const std::string& name : names) {
      if (name.starts_with(kExpression))
        expressions_.emplace_back("^(?:" + name.substr(kExpression.size()) + ")", what);
      else
        names_.insert(name);
    }
  }
  bool names(const std::string& module) const {
    Regex::Match match;
    return names_.contains(module) ||
           std::any_of(expressions_.begin(), expressions_.end(), [&](const Regex& expression) {
             return Regex::Scanner(expression, module).next(match) && match.begin == 0;
           });
  }
  bool linear() const { return names_.contains("Linear"); }

 private:
  std::set<std::string> names_;
  std::vector<Regex> expressions_;
};

/// The module of a tensor's name that ends so; empty where it does not.
std::string module_of(const std::string& tensor, std::string_view end) {
  return tensor.ends_with(end) ? tensor.substr(0, tensor.size() - end.size()) : "";
}

std::vector<int64_t> read_shape(const TensorInfo& tensor) {
  const bool wide = tensor.format->name == "I64";
  if ((!wide && tensor.format->name != "I32") || tensor.values() > 8)
    fail("{}: tensor \"{}\" should be a shape, a few whole numbers; found {} values of {}", tensor.file,
         printable(tensor.name), tensor.values(), tensor.format->name);
  std::vector<int64_t> shape;
  for (int64_t i = 0; i < tensor.values(); ++i) {
    int64_t size = 0;
    int32_t narrow = 0;
    if (wide)
      std::memcpy(&size, tensor.bytes.data() + i * 8, sizeof size);
    else
      std::memcpy(&narrow, tensor.bytes.data() + i * 4, sizeof narrow), size = narrow;
    if (size < 1 || size > kMostShape)
      fail("{}: tensor \"{}\" holds the size {}; the checkpoint is damaged, fetch it again", tensor.file,
           printable(tensor.name), size);
    shape.push_back(size);
  }
  return shape;
}

ActivationScale read_input_scale(const TensorTable& tensors, const std::string& module) {
  const TensorInfo& scale = tensors.require(module + ".input_scale");
  if (scale.values() != 1 || !scale.readable())
    fail("{}: tensor \"{}\" should be one float, the scale of a layer's inputs", scale.file, printable(scale.name));
  ActivationScale result;
  read_values(scale, 0, 1, &result.scale);
  if (!std::isfinite(result.scale))
    fail("{}: tensor \"{}\" holds {}; a scale must be finite", scale.file, printable(scale.name), result.scale);
  if (const TensorInfo* zero = tensors.find(module + ".input_zero_point")) {
    if (zero->values() != 1 || zero->format->name != "I8")
      fail("{}: tensor \"{}\" should be one whole number of 8 bits", zero->file, printable(zero->name));
    result.zero_point = static_cast<int8_t>(zero->bytes[0]);
  }
  return result;
}

TensorInfo join(const TensorTable& tensors, const std::string& module, const TensorInfo& values,
                const WeightFormat& format) {
  if (const TensorInfo* order = tensors.find(module + ".weight_g_idx"))
    fail(
        "{}: tensor \"{}\" gives each column a group of its own, which cannot be read; use a checkpoint made without "
        "actorder 'group'",
        order->file, printable(order->name));
  QuantizedParts parts{
      .values = values, .scales = tensors.require(module + ".weight_scale"), .zero_points = {}, .shape = values.shape};
  // Symmetric ones may have zero points, all 0, from older writers.
  if (!format.symmetric) parts.zero_points = tensors.require(module + ".weight_zero_point");
  if (format.packed) parts.shape = read_shape(tensors.require(module + ".weight_shape"));
  return quantized_tensor(module + ".weight", parts, format);
}

}  // namespace

std::optional<Quantization> read_quantization(const Json& config, const std::string& document) {
  const Json* json = member(config, "quantization_config");
  if (!json) json = member(config, "compression_config");
  if (!json || !json->is_object()) return std::nullopt;
  const std::string what = document + ": quantization_config";
  const auto method = json_get_or<std::string>(*json, "quant_method", "unknown", what);
  if (method == "gguf") return std::nullopt;
  if (method != "compressed-tensors")
    fail("{}: the weights are packed by '{}', which is not supported; use the original checkpoint or a GGUF of it",
         document, printable(method, 40));
  Quantization result;
  result.format = json_get_or<std::string>(*json, "format", "", what);
  result.ignore = texts(*json, "ignore", what);
  const Json* groups = member(*json, "config_groups");
  if (!groups || !groups->is_object() || groups->empty())
    fail("{}: expected an object under 'config_groups' that says which layers are quantized and how", what);
  for (const auto& [name, json_group] : groups->items()) {
    const std::string where = fmt::format("{}.config_groups.{}", what, printable(name, 60));
    if (!json_group.is_object()) fail("{}: expected an object", where);
    const Json* weights = member(json_group, "weights");
    if (!weights) continue;  // of caches and inputs alone
    if (!weights->is_object()) fail("{}: expected an object under 'weights'", where);
    const auto format = json_get_or<std::string>(json_group, "format", result.format, where);
    const bool packed = format == "pack-quantized";
    if (!packed && format != "int-quantized" && format != "naive-quantized")
      fail(
          "{}: the format '{}' cannot be read (known: pack-quantized, int-quantized, naive-quantized); use the "
          "original "
          "checkpoint",
          where, printable(format, 60));
    Quantization::Group group{.name = name,
                              .targets = texts(json_group, "targets", where),
                              .weights = read_weights(*weights, packed, where + ".weights"),
                              .inputs = {}};
    if (const Json* inputs = member(json_group, "input_activations"))
      group.inputs = read_inputs(*inputs, where + ".input_activations");
    result.groups.push_back(std::move(group));
  }
  return result;
}

TensorTable join_quantized(const TensorTable& tensors, Quantization& quantization, const std::string& what) {
  struct Targets {
    const Quantization::Group* group;
    ModuleNames names;
  };
  std::vector<Targets> targets;
  for (const Quantization::Group& group : quantization.groups)
    targets.push_back({&group, ModuleNames(group.targets, what)});
  // What is named counts before what is meant by its kind.
  const auto group_of = [&](const std::string& module) -> const Quantization::Group* {
    for (const Targets& target : targets)
      if (target.names.names(module)) return target.group;
    for (const Targets& target : targets)
      if (target.names.linear()) return target.group;
    return nullptr;
  };

  TensorTable joined;
  for (const auto& file : tensors.files()) joined.keep(file);
  for (const TensorInfo& tensor : tensors.tensors()) {
    std::string module = module_of(tensor.name, ".weight_packed");
    const bool packed = !module.empty();
    if (!packed && tensor.format->name == "I8") module = module_of(tensor.name, ".weight");
    if (!module.empty()) {
      const Quantization::Group* group = group_of(module);
      if (!group || group->weights.packed != packed)
        fail(
            "{}: tensor \"{}\" is quantized, but no group of {}'s quantization_config that is {} has it among its "
            "targets",
            tensor.file, printable(tensor.name), what, packed ? "pack-quantized" : "int-quantized");
      joined.add(join(tensors, module, tensor, group->weights));
      ++quantization.matrices;
      continue;
    }
    if (module = module_of(tensor.name, ".input_scale"); !module.empty())
      quantization.input_scales.emplace(module, read_input_scale(tensors, module));
    if (std::none_of(kParts.begin(), kParts.end(), [&](std::string_view end) { return tensor.name.ends_with(end); }))
      joined.add(tensor);
  }
  if (quantization.matrices == 0)
    fail(
        "{}: quantization_config says that weights are quantized ({}), but none is; remove it, or fetch the checkpoint "
        "again",
        what, printable(quantization.format, 60));
  return joined;
}

std::vector<std::string> Quantization::text() const {
  std::vector<std::string> lines;
  for (const Group& group : groups) {
    std::string line = fmt::format("{}: {}", fmt::join(group.targets, ", "), group.weights.text());
    if (group.inputs)
      line += fmt::format("; inputs {} bits, {}, one scale a {}, {} (not applied in a pass)", group.inputs->bits,
                          group.inputs->symmetric ? "symmetric" : "asymmetric", group.inputs->strategy,
                          group.inputs->dynamic ? "dynamic" : "static");
    lines.push_back(printable(line, 400));
  }
  lines.push_back(
      fmt::format("{} matrices, {}{}", matrices, format,
                  input_scales.empty() ? "" : fmt::format(", {} static scales of inputs", input_scales.size())));
  return lines;
}

Json to_json(const Quantization& quantization) {
  Json groups = Json::array();
  for (const Quantization::Group& group : quantization.groups) {
    const WeightFormat& weights = group.weights;
    Json json = {{"targets", group.targets},
                 {"bits", weights.bits},
                 {"strategy", scope_name(weights.scope)},
                 {"symmetric", weights.symmetric}};
    if (weights.scope == WeightFormat::Scope::group) json["group_size"] = weights.group;
    if (group.inputs)
      json["inputs"] = {{"bits", group.inputs->bits},
                        {"strategy", group.inputs->strategy},
                        {"symmetric", group.inputs->symmetric},
                        {"dynamic", group.inputs->dynamic}};
    groups.push_back(json);
  }
  Json scales = Json::object();
  for (const auto& [module, input] : quantization.input_scales)
    scales[module] = {{"scale", input.scale}, {"zero_point", input.zero_point}};
  return {{"format", quantization.format},
          {"groups", groups},
          {"ignore", quantization.ignore},
          {"matrices", quantization.matrices},
          {"input_scales", scales}};
}

}  // namespace spikescope
