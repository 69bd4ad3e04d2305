#include "quant/quantization_rows.h"

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "model/int8_product.h"

namespace spikescope {
namespace {

double tokens_of_windows(const TextWindows& windows) { return static_cast<double>(windows.ids.size()); }

double tokens_of_questions(const std::vector<TaskRows>& tasks) {
  double questions = 0.0;
  for (const TaskRows& rows : tasks) questions += static_cast<double>(rows.questions.size());
  return kTokensOfAQuestion * questions;
}

/// What single methods have to tell.
void add_particulars(const SimulatedActivations& activations, const SpikeTemplates& templates, Json& row) {
  if (const double share = activations.share_of_outliers(); share > 0.0) row["share_of_outliers"] = share;
  if (!activations.prefix().empty()) row["prefix"] = {{"ids", activations.prefix()}, {"text", templates.prefix.text}};
}

}  // namespace

std::string QuantizationRow::name() const {
  if (real) return activations.method + " (int8)";
  return activations.quantizes() ? activations.method : weights.quantizes() ? weights.method : "fp";
}

bool QuantizationRow::rounds_activations() const {
  return activations.quantizes() && find_activation_method(activations.method).clip != Clip::none;
}

bool QuantizationRow::rotates() const {
  return activations.quantizes() && find_activation_method(activations.method).rotated();
}

bool QuantizationRow::balances() const {
  return activations.quantizes() && is_balanced(find_activation_method(activations.method).population);
}

bool QuantizationRow::is_contradictory() const {
  return weights.quantizes() && activations.quantizes() &&
         find_activation_method(activations.method).channels == Channels::smoothed;
}

bool QuantizationRow::has_own_weights() const {
  return weights.quantizes() && weights.method == "gptq" && weights.as_run && activations.quantizes();
}

bool same_weights(const QuantizationRow& a, const QuantizationRow& b) {
  if (a.weights.bits != b.weights.bits) return false;
  if (!a.weights.quantizes()) return true;
  return !a.has_own_weights() && !b.has_own_weights() && a.rotates() == b.rotates() && a.balances() == b.balances();
}

std::vector<QuantizationRow> quantization_rows(const RowRequest& request, const SpikeTemplates* templates) {
  std::vector<std::string> names = request.methods;
  if (request.compare && templates)
    for (const ActivationMethod& method : activation_methods())
      if (why_not_possible(method, *templates).empty()) names.emplace_back(method.name);
  std::vector<int> bits_weight = request.bits_weight;
  if (request.compare || bits_weight.empty()) bits_weight.insert(bits_weight.begin(), 0);
  std::vector<QuantizationRow> rows;
  for (const int bits : bits_weight) {
    QuantizationRow row{request.recipe.weights, {}};
    row.weights.bits = bits;
    if (bits > 0 && (names.empty() || request.compare)) rows.push_back(row);
    for (const std::string& name : names) {
      row.activations = request.recipe.activations;
      row.activations.method = name;
      if (request.compare && row.is_contradictory()) continue;
      for (const int activation_bits : request.bits_activation) {
        row.activations.bits = activation_bits;
        rows.push_back(row);
        if (request.real && row.weights.quantizes() && row.rounds_activations()) rows.emplace_back(row).real = true;
        if (!row.rounds_activations()) break;
      }
    }
  }
  if (rows.empty())
    fail_usage(
        "quantize: say --method NAME for activations, --bits-weight N for weights, or --compare for all methods");
  if (request.real && std::none_of(rows.begin(), rows.end(), [](const QuantizationRow& row) { return row.real; }))
    fail_usage("--real needs weights and activations that are rounded: say --bits-weight 8 and --method NAME");
  return rows;
}

void write_row_arrays(std::span<const MeasuredRow> rows, H5File& arrays) {
  std::vector<double> nll, largest_h;
  std::vector<int64_t> new_spikes;
  for (const MeasuredRow& row : rows) {
    const LossesOfPass& losses = row.losses;
    for (const WindowLoss& window : losses.windows) nll.push_back(window.nll);
    largest_h.insert(largest_h.end(), losses.largest_h.begin(), losses.largest_h.end());
    new_spikes.insert(new_spikes.end(), losses.new_spikes.begin(), losses.new_spikes.end());
  }
  const auto write = [&](const char* name, const auto& values) {
    const auto count = static_cast<int64_t>(rows.size());
    const std::array shape = {count, static_cast<int64_t>(values.size()) / count};
    arrays.write(name, shape, std::span(values));
  };
  write("/nll", nll);
  write("/largest_h", largest_h);
  write("/new_spikes", new_spikes);
}

RowMeter::RowMeter(const Checkpoint& checkpoint, const Tokenizer& tokenizer, TextWindows windows,
                   std::vector<TaskRows> tasks, const RowProgress& progress)
    : checkpoint_(checkpoint),
      tokenizer_(tokenizer),
      tasks_(std::move(tasks)),
      bos_(windows.bos),
      sizes_(weight_sizes(checkpoint)),
      share_of_windows_(tokens_of_windows(windows) / (tokens_of_windows(windows) + tokens_of_questions(tasks_))) {
  losses_.emplace(checkpoint.weights(), std::move(windows),
                  [&](double fraction) { progress(share_of_windows_ * fraction); });
  reference_ = finish({}, losses_->reference(), checkpoint.weights(), sizes_.matrices, nullptr, progress);
}

MeasuredRow RowMeter::measure(const QuantizationRow& row, const ModelWeights& weights, int64_t matrix_bytes,
                              const SpikeTemplates* templates, const RowProgress& progress) const {
  std::optional<SimulatedActivations> activations;
  if (row.activations.quantizes())
    activations.emplace(checkpoint_.architecture(), *templates, activation_plan(row.activations, *templates));
  const SimulatedActivations* simulated = activations ? &*activations : nullptr;
  LossesOfPass losses = losses_->run(
      weights, simulated, [&](double fraction) { progress(share_of_windows_ * fraction); }, row.real);
  MeasuredRow measured = finish(row, std::move(losses), weights, matrix_bytes, simulated, progress);
  if (simulated) add_particulars(*simulated, *templates, measured.json);
  return measured;
}

MeasuredRow RowMeter::finish(const QuantizationRow& row, LossesOfPass losses, const ModelWeights& weights,
                             int64_t matrix_bytes, const SimulatedActivations* activations,
                             const RowProgress& progress) const {
  const auto or_null = [](bool there, int bits) { return there ? Json(bits) : Json(nullptr); };
  Json json = {{"method", row.name()},
               {"bits_activation", or_null(row.rounds_activations(), row.activations.bits)},
               {"bits_weight", or_null(row.weights.quantizes(), row.weights.bits)},
               {"bytes", sizes_.all - sizes_.matrices + matrix_bytes},
               {"matrix_bytes", matrix_bytes}};
  if (row.activations.quantizes() && row.activations.bits_kv > 0) json["bits_kv"] = row.activations.bits_kv;
  if (row.real) json["int8"] = int8_kernel();
  json.update(losses_->row(losses));
  if (tasks_.empty()) return {std::move(json), std::move(losses)};
  EvaluationPass pass = pass_with(activations, row.real);
  pass.progress = [&](double fraction) { progress(share_of_windows_ + (1.0 - share_of_windows_) * fraction); };
  json["zero_shot"] = zero_shot_json({weights, tokenizer_, bos_}, tasks_, pass);
  return {std::move(json), std::move(losses)};
}

}  // namespace spikescope
