// A quantization as data: all that a run is told, so that it can be repeated, and that a saved model needs to be run as
// it was measured.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "families/checkpoint.h"
#include "io/json.h"
#include "quant/quantize_weights.h"
#include "quant/simulated_activations.h"

namespace spikescope {

/// What becomes of activations.
struct ActivationRecipe {
  std::string method;  ///< of activation_methods(); empty: they stay as they are
  int bits = 8;
  std::vector<std::string> overrides = {};  ///< as parse_override() reads them
  bool asymmetric = false, exact_templates = false, end_with_residual = false;
  int bits_kv = 0;                                           ///< as ActivationPlan has it
  double smooth = kMigration, outliers = kOutlierThreshold;  ///< as ActivationPlan has them

  bool quantizes() const { return !method.empty(); }
};

/// What becomes of weights.
struct WeightChoice {
  int bits = 0;                ///< 0: they stay as they are
  std::string group = "64";    ///< columns that share a scale; "channel", "tensor"
  std::string method = "rtn";  ///< or "gptq"
  std::string clip = "absmax", scales = "f32";
  bool asymmetric = false, act_order = false;
  bool as_run = true;  ///< as WeightRecipe has it
  double damping = GptqOptions{}.damping;

  bool quantizes() const { return bits > 0; }
};

struct Recipe {
  ActivationRecipe activations;
  WeightChoice weights;
};

/// The recipe's document, and back. Throws Error, naming `what`, for keys that are missing, unknown or of another type.
Json to_json(const Recipe& recipe);
Recipe recipe_from_json(const Json& json, const std::string& what);

/// What quantize_weights does. Throws UsageError for a group that is neither a number nor a name.
WeightRecipe weight_recipe(const WeightChoice& choice);
/// What SimulatedActivations does. Throws UsageError as find_activation_method, parse_override and plan_of do.
ActivationPlan activation_plan(const ActivationRecipe& recipe, const SpikeTemplates& templates);

/// Files that travel in the folder of a saved model: what the layout of its weights cannot say.
inline constexpr const char *kRecipeFile = "spikescope.json", *kTemplatesFile = "spikescope-templates.safetensors";
/// Writes them. The templates go along where activations are quantized.
void write_recipe(const std::filesystem::path& folder, const Recipe& recipe, const SpikeTemplates* templates);

/// The quantized activations of a saved model.
class SavedActivations {
 public:
  SavedActivations(const Architecture& architecture, SpikeTemplates templates, const ActivationRecipe& recipe);
  const SimulatedActivations& simulated() const { return *simulated_; }

 private:
  SpikeTemplates templates_;
  std::unique_ptr<SimulatedActivations> simulated_;
};
/// Those of the checkpoint's folder; null where it has none. Throws Error for files that are damaged or of a model of
/// other sizes.
std::unique_ptr<SavedActivations> read_saved_activations(const Checkpoint& checkpoint);

}  // namespace spikescope
