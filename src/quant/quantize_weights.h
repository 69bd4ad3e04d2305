// A checkpoint with quantized weights, written as a Hugging Face folder in the layout of compressed-tensors.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "families/checkpoint.h"
#include "model/batch.h"
#include "quant/gptq.h"
#include "quant/simulated_activations.h"

namespace spikescope {

/// How the linear layers of all blocks are quantized; embeddings, norms, routers and head stay as they are.
struct WeightRecipe {
  Rounding rounding = {.format = {.bits = 4, .scope = WeightFormat::Scope::group, .group = 64}};
  /// Round by GPTQ, with the inputs that calibration tokens make; else to nearest.
  std::optional<GptqOptions> gptq;
  /// The quantized activations that the model will run with; null: none. Where they are rounded in a basis of their own
  /// (quant/site_basis.h), so are the weights that read them.
  const SimulatedActivations* activations = nullptr;
  /// Whether GPTQ sees what layers read in the pass of these activations; else in that of the model as it is.
  bool as_run = true;
  /// How the layers read their inputs, for those who load the checkpoint. Not with experts, whose inputs have no
  /// scales.
  std::optional<SavedInputs> inputs = {};
  std::filesystem::path tokenizer;  ///< folder whose tokenizer files go along; empty: the checkpoint's own
  /// Writes what else belongs into the folder, before it gets its name; may be empty.
  std::function<void(const std::filesystem::path& folder)> companions = {};
};

/// What became of the weights.
struct WeightSummary {
  int64_t matrices = 0;        ///< quantized
  int64_t values = 0;          ///< in them
  int64_t bytes = 0;           ///< of the weights' file
  int64_t matrix_bytes = 0;    ///< of the quantized, scales included
  double bits_a_value = 0.0;   ///< of the quantized, scales included
  double weight_error = 0.0;   ///< sum (w - q)^2 / sum w^2 over all quantized values
  double output_error = 0.0;   ///< mean over matrices of output_error(); 0 without calibration
  bool has_tokenizer = false;  ///< among what was written
};

using WeightProgress = std::function<void(double fraction, const std::string& part)>;

/// Writes the folder `out`, which must not exist or be empty: model.safetensors, config.json with
/// quantization_config, tokenizer files. One block is in memory at a time. Values of block formats (GGUF) count as
/// rounded to bfloat16, so that what is not quantized can be kept in it; others keep their type.
///
/// GPTQ (`calibration`: token ids): block by block, a block's inputs are those that the quantized blocks before it
/// make. Memory: the residual stream of all tokens, and size^2 doubles for the inputs of each kind of matrix; time per
/// matrix: size^3 + out x size^2 multiplications and additions.
///
/// Weights rounded in another basis are written as they come out of it, in float32, since the layout has no word for
/// it; the summary counts them as if they had been written as whole numbers.
///
/// Throws UsageError for what cannot be: groups that do not divide, bits outside of 2 to 8, GPTQ of mixtures of experts
/// or without tokens; Error for a model that the layout cannot express (weights stored [in, out], stacked experts) or
/// that is quantized already. Nothing is left in `out` then.
WeightSummary quantize_weights(const Checkpoint& checkpoint, const WeightRecipe& recipe, const TokenBatch& calibration,
                               const std::filesystem::path& out, const WeightProgress& progress = {});

/// What weights take as quantize_weights keeps them where it quantizes nothing: values of block formats as bfloat16.
struct WeightSizes {
  int64_t matrices = 0;  ///< the linear layers of all blocks
  int64_t all = 0;       ///< every tensor of the model
};
WeightSizes weight_sizes(const Checkpoint& checkpoint);

/// `quantization_config` for layers named in `ignore` ("lm_head") and all other linear ones quantized so, with inputs
/// of such a format (null: as they are).
Json quantization_config(const Rounding& rounding, const std::vector<std::string>& ignore, bool act_order = false,
                         const ActivationFormat* inputs = nullptr);

}  // namespace spikescope
