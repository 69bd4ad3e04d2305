#include "quant/recipe.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/fail.h"
#include "io/output_file.h"
#include "quant/template_file.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "spikescope-recipe";
constexpr int kVersion = 1;

/// Calls field(key, value) for every part of a recipe: one list for writing and for reading.
template <class Activations, class Field>
void for_fields_of_activations(Activations& activations, const Field& field) {
  field("method", activations.method);
  field("bits", activations.bits);
  field("overrides", activations.overrides);
  field("asymmetric", activations.asymmetric);
  field("exact_templates", activations.exact_templates);
  field("end_with_residual", activations.end_with_residual);
  field("bits_kv", activations.bits_kv);
  field("smooth", activations.smooth);
  field("outliers", activations.outliers);
}
template <class Weights, class Field>
void for_fields_of_weights(Weights& weights, const Field& field) {
  field("bits", weights.bits);
  field("group", weights.group);
  field("method", weights.method);
  field("clip", weights.clip);
  field("scales", weights.scales);
  field("asymmetric", weights.asymmetric);
  field("act_order", weights.act_order);
  field("damping", weights.damping);
  field("as_run", weights.as_run);
}

void check_keys(const Json& json, const std::vector<std::string>& known, const std::string& what) {
  if (!json.is_object()) fail("{}: expected an object", what);
  for (const auto& [key, value] : json.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail("{}: there is no '{}' in a recipe; this program may be too old for it", what, key);
}

const Json& object_at(const Json& json, const char* key, const std::string& what) {
  const auto found = json.find(key);
  if (found == json.end()) fail("{}: \"{}\" is missing", what, key);
  return *found;
}

template <class T>
void read_field(const Json& json, const char* key, const std::string& what, T& value) {
  value = json_get<T>(json, key, what);
}
void read_field(const Json& json, const char* key, const std::string& what, int& value) {
  const auto number = json_get<int64_t>(json, key, what);
  if (number < 0 || number > kMostBits) fail("{}: \"{}\" is {}; expected 0 to {}", what, key, number, kMostBits);
  value = static_cast<int>(number);
}
void read_field(const Json& json, const char* key, const std::string& what, std::vector<std::string>& values) {
  const Json& array = object_at(json, key, what);
  if (!array.is_array()) fail("{}: \"{}\" should be an array of texts", what, key);
  values.clear();
  for (const Json& value : array) {
    if (!value.is_string()) fail("{}: \"{}\" should be an array of texts", what, key);
    values.push_back(value.get<std::string>());
  }
}

/// Keys that recipes of earlier programs lack: they mean what they are without.
constexpr std::array kLaterKeys = {std::string_view("as_run"), std::string_view("bits_kv"), std::string_view("smooth"),
                                   std::string_view("outliers")};

/// Reads what `fields` lists, no more and, but for later keys, no less.
template <class Fields>
void read_fields(const Json& json, const std::string& what, const Fields& fields) {
  std::vector<std::string> known;
  fields([&](const char* key, const auto&) { known.emplace_back(key); });
  check_keys(json, known, what);
  fields([&](const char* key, auto& value) {
    const bool later = std::find(kLaterKeys.begin(), kLaterKeys.end(), key) != kLaterKeys.end();
    if (!later || json.contains(key)) read_field(json, key, what, value);
  });
}

}  // namespace

Json to_json(const Recipe& recipe) {
  Json activations, weights;
  for_fields_of_activations(recipe.activations, [&](const char* key, const auto& value) { activations[key] = value; });
  for_fields_of_weights(recipe.weights, [&](const char* key, const auto& value) { weights[key] = value; });
  return {{"format", kFormat}, {"version", kVersion}, {"activations", activations}, {"weights", weights}};
}

Recipe recipe_from_json(const Json& json, const std::string& what) {
  check_keys(json, {"format", "version", "activations", "weights"}, what);
  if (json_get<std::string>(json, "format", what) != kFormat) fail("{}: its format is not {}", what, kFormat);
  if (const auto version = json_get<int64_t>(json, "version", what); version != kVersion)
    fail("{}: version {}; this program reads {}", what, version, kVersion);
  Recipe recipe;
  recipe.weights.as_run = false;  // what recipes without the key mean
  read_fields(object_at(json, "activations", what), what + ": activations",
              [&](const auto& field) { for_fields_of_activations(recipe.activations, field); });
  read_fields(object_at(json, "weights", what), what + ": weights",
              [&](const auto& field) { for_fields_of_weights(recipe.weights, field); });
  return recipe;
}

WeightRecipe weight_recipe(const WeightChoice& choice) {
  using Scope = WeightFormat::Scope;
  WeightRecipe recipe;
  WeightFormat& format = recipe.rounding.format;
  format.bits = choice.bits;
  format.symmetric = !choice.asymmetric;
  format.scope = Scope::group;
  const char* const end = choice.group.data() + choice.group.size();
  if (const auto scope = find_scope(choice.group); scope && *scope != Scope::group)
    format.scope = *scope;
  else if (const auto read = std::from_chars(choice.group.data(), end, format.group);
           read.ec != std::errc() || read.ptr != end || format.group < 1)
    fail_usage("--group {}: expected a number of columns, channel or tensor", choice.group);
  recipe.rounding.clip = choice.clip == "mse" ? WeightClip::mse : WeightClip::absmax;
  recipe.rounding.scale_type = choice.scales == "f32" ? "F32" : choice.scales == "f16" ? "F16" : "BF16";
  recipe.as_run = choice.as_run;
  if (choice.method == "gptq") recipe.gptq = GptqOptions{choice.damping, choice.act_order};
  return recipe;
}

ActivationPlan activation_plan(const ActivationRecipe& recipe, const SpikeTemplates& templates) {
  std::vector<SiteOverride> overrides;
  for (const std::string& text : recipe.overrides)
    overrides.push_back(parse_override(text, recipe.bits, templates.n_layers));
  ActivationPlan plan = plan_of(find_activation_method(recipe.method), recipe.bits, templates, overrides);
  plan.asymmetric = recipe.asymmetric;
  plan.quantize_templates = !recipe.exact_templates;
  plan.end_with_residual = recipe.end_with_residual;
  if (recipe.bits_kv != 0 && (recipe.bits_kv < kFewestBits || recipe.bits_kv > kMostBits))
    fail_usage("--bits-kv {}: expected {} to {}", recipe.bits_kv, kFewestBits, kMostBits);
  plan.bits_kv = recipe.bits_kv;
  if (!(recipe.smooth >= 0.0 && recipe.smooth <= 1.0))
    fail_usage("--smooth {}: expected a number from 0 (activations keep their scales) to 1", recipe.smooth);
  if (!(recipe.outliers > 0.0)) fail_usage("--outliers {}: expected a number above 0", recipe.outliers);
  plan.smooth = recipe.smooth;
  plan.outliers = recipe.outliers;
  return plan;
}

void write_recipe(const fs::path& folder, const Recipe& recipe, const SpikeTemplates* templates) {
  if (templates) write_templates(*templates, folder / kTemplatesFile);
  write_file(folder / kRecipeFile, to_json(recipe).dump(2) + "\n");
}

SavedActivations::SavedActivations(const Architecture& architecture, SpikeTemplates templates,
                                   const ActivationRecipe& recipe)
    : templates_(std::move(templates)),
      simulated_(
          std::make_unique<SimulatedActivations>(architecture, templates_, activation_plan(recipe, templates_))) {}

std::unique_ptr<SavedActivations> read_saved_activations(const Checkpoint& checkpoint) {
  const fs::path file = checkpoint.path() / kRecipeFile;
  if (!fs::is_directory(checkpoint.path()) || !fs::exists(file)) return nullptr;
  const Recipe recipe = recipe_from_json(read_json_file(file), file.string());
  if (!recipe.activations.quantizes()) return nullptr;
  const fs::path templates_file = checkpoint.path() / kTemplatesFile;
  SpikeTemplates templates = read_templates(templates_file);
  // They are of the model before its weights were quantized, so sizes are all that can be compared.
  check_templates_of(templates, templates_file, templates.info.model_sha256, checkpoint.architecture());
  return std::make_unique<SavedActivations>(checkpoint.architecture(), std::move(templates), recipe.activations);
}

}  // namespace spikescope
