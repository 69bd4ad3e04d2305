// The rows of a table of quantizations (`spikescope quantize`): what is to be tried, and what is measured of each.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/json.h"
#include "quant/activation_losses.h"
#include "quant/recipe.h"
#include "quant/zero_shot.h"

namespace spikescope {

/// What is done to a model; nothing at all in the first row of a table.
struct QuantizationRow {
  WeightChoice weights = {};
  ActivationRecipe activations = {};
  bool real = false;  ///< computed in whole numbers, not simulated (model/int8_product.h)

  /// The method of activations, of weights where these stay as they are, or "fp".
  std::string name() const;
  /// Whether activations are rounded; templates can stand in for spikes without that.
  bool rounds_activations() const;
  /// Whether activations, and with them the weights that read them, are rounded after a rotation; after a balance.
  bool rotates() const;
  bool balances() const;
  /// Whether weights and activations get in each other's way: smoothed channels take scales from the activations that
  /// the weights would have to have when they are rounded.
  bool is_contradictory() const;
  /// Whether GPTQ looks at the pass of these activations, so that the weights are for this row alone.
  bool has_own_weights() const;
};
/// Whether the weights of two rows are the same.
bool same_weights(const QuantizationRow& a, const QuantizationRow& b);

/// Rows as people ask for them: methods x bits, for each kind of weights.
struct RowRequest {
  Recipe recipe = {};                     ///< of every row but for the two methods' names and bits
  std::vector<std::string> methods = {};  ///< of activations
  std::vector<int> bits_activation = {}, bits_weight = {};
  bool real = false;     ///< besides, rows of rounded weights and activations in whole numbers
  bool compare = false;  ///< besides, all methods that the templates allow, and weights as they are
};
/// Rows with the same weights stand together, weights as they are first. `templates`: null where there are none. Throws
/// UsageError where nothing is asked for.
std::vector<QuantizationRow> quantization_rows(const RowRequest& request, const SpikeTemplates* templates);

/// A row as it was measured.
struct MeasuredRow {
  Json json;            ///< docs/results.md, rows[] of quantize.json
  LossesOfPass losses;  ///< what it is made of
};
/// /nll [rows, windows], /largest_h and /new_spikes [rows, blocks], in the order of the rows.
void write_row_arrays(std::span<const MeasuredRow> rows, H5File& arrays);

/// Measures rows on the same windows and questions.
class RowMeter {
 public:
  /// Fraction done of one row, 0 to 1.
  using RowProgress = std::function<void(double fraction)>;

  /// Measures the model as it is. `tasks` may be empty: no questions.
  RowMeter(const Checkpoint& checkpoint, const Tokenizer& tokenizer, TextWindows windows, std::vector<TaskRows> tasks,
           const RowProgress& progress);

  /// The row of the model as it is.
  const MeasuredRow& reference() const { return reference_; }
  /// `weights`: the quantized ones, whose matrices take `matrix_bytes`, or those as they are; `templates`: null where
  /// activations stay as they are.
  MeasuredRow measure(const QuantizationRow& row, const ModelWeights& weights, int64_t matrix_bytes,
                      const SpikeTemplates* templates, const RowProgress& progress) const;
  /// Those of the checkpoint, as it is.
  const WeightSizes& sizes() const { return sizes_; }

 private:
  MeasuredRow finish(const QuantizationRow& row, LossesOfPass losses, const ModelWeights& weights, int64_t matrix_bytes,
                     const SimulatedActivations* activations, const RowProgress& progress) const;

  const Checkpoint& checkpoint_;
  const Tokenizer& tokenizer_;
  const std::vector<TaskRows> tasks_;
  const std::optional<int64_t> bos_;
  const WeightSizes sizes_;
  const double share_of_windows_;  // of a row's time, as a guess
  std::optional<LossComparison> losses_;
  MeasuredRow reference_;
};

}  // namespace spikescope
