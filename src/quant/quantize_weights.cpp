#include "quant/quantize_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>

#include "base/fail.h"
#include "families/huggingface_export.h"
#include "io/output_file.h"
#include "io/safetensors_writer.h"
#include "io/scratch_folder.h"
#include "model/runner.h"
#include "quant/prefix.h"
#include "quant/sites.h"
#include "text/gguf_export.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// What a Hugging Face folder may have besides its weights and config.json.
constexpr std::array kOtherFiles = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "tokenizer.model",
                                    "added_tokens.json",
                                    "chat_template.jinja",
                                    "generation_config.json",
                                    "preprocessor_config.json"};

/// A tensor of the new checkpoint.
struct Unit {
  std::string name;
  std::vector<int64_t> shape;
  const TensorInfo* source = nullptr;
  std::vector<WeightKey> keys;  ///< of the weights in it
  bool quantized = false;

  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return shape[1]; }
  std::string module() const { return name.substr(0, name.size() - std::string_view(".weight").size()); }
};

/// Tensors beside a matrix that hold the grid of what its layer reads.
constexpr const char *kInputScale = ".input_scale", *kInputZero = ".input_zero_point";

/// Type in which a tensor that is not quantized is kept.
std::string kept_type(const TensorInfo& tensor) {
  return tensor.format->safetensors.empty() ? "BF16" : std::string(tensor.format->safetensors);
}

/// The hook point of what a matrix of the block reads.
HookPoint input_point(const Architecture& a, const WeightKey& key) {
  const Site site = *site_read_by(a, *linear_role(key.role));
  return {site_kinds()[static_cast<size_t>(site)].point, key.layer};
}

/// The basis in which a matrix of the block is rounded.
SiteBasis basis_of(const Architecture& a, const Unit& unit, const WeightRecipe& recipe) {
  if (!recipe.activations) return {};
  const std::optional<Site> site = site_read_by(a, *linear_role(unit.keys[0].role));
  return site ? recipe.activations->basis(*site, unit.keys[0].layer) : SiteBasis();
}

class Plan {
 public:
  Plan(const Checkpoint& checkpoint, const WeightRecipe& recipe)
      : checkpoint_(checkpoint), a_(checkpoint.architecture()) {
    before_ = units_of(-1, true);
    for (int layer = 0; layer < a_.n_layers; ++layer) blocks_.push_back(units_of(layer, false));
    after_ = units_of(-1, false);
    if (!from_gguf())
      for (const std::string& name : checkpoint.unused_tensors()) {
        const TensorInfo& tensor = checkpoint.tensors().require(name);
        after_.push_back({name, tensor.shape, &tensor, {}, false});
      }
    for (const std::vector<Unit>& block : blocks_)
      for (const Unit& unit : block)
        if (unit.quantized) check(unit, recipe);
  }

  const std::vector<Unit>& before() const { return before_; }
  const std::vector<Unit>& block(int layer) const { return blocks_[static_cast<size_t>(layer)]; }
  const std::vector<Unit>& after() const { return after_; }
  bool from_gguf() const { return !checkpoint_.gguf_metadata().is_null(); }

  /// Modules that stay as they are and that readers might take for linear layers to be quantized.
  std::vector<std::string> ignored() const {
    std::vector<std::string> names;
    if (a_.head) names.emplace_back("lm_head");
    const auto add = [&](const std::vector<Unit>& units) {
      for (const Unit& unit : units)
        if (!unit.quantized && unit.shape.size() == 2 && unit.name.ends_with(".weight") && !unit.keys.empty() &&
            unit.keys[0].role > Role::embedding_norm_bias && unit.module() != "lm_head")
          names.push_back(unit.module());
    };
    add(before_);
    for (const std::vector<Unit>& block : blocks_) add(block);
    add(after_);
    return names;
  }

  /// The scale of what a quantized unit reads.
  const ActivationScale& input_scale(const SavedInputs& inputs, const Unit& unit) const {
    Site site = *linear_role(unit.keys[0].role)->site;
    if (site == Site::mlp_in && a_.shared_norm) site = Site::attn_in;
    return inputs.scales[static_cast<size_t>(site)][static_cast<size_t>(unit.keys[0].layer)];
  }

  std::vector<TensorPlan> tensors(const WeightRecipe& recipe) const {
    const std::optional<SavedInputs>& inputs = recipe.inputs;
    std::vector<TensorPlan> plan;
    const Rounding& rounding = recipe.rounding;
    const auto add = [&](const std::vector<Unit>& units) {
      for (const Unit& unit : units) {
        if (!unit.quantized) {
          plan.push_back({unit.name, unit.shape, kept_type(*unit.source)});
          continue;
        }
        if (basis_of(a_, unit, recipe).changes()) {
          plan.push_back({unit.name, unit.shape, "F32"});
          continue;
        }
        for (const StoredPart& part : stored_parts(unit.rows(), unit.columns(), rounding))
          plan.push_back({unit.module() + "." + part.suffix, part.shape, part.dtype});
        if (!inputs || inputs->format.dynamic) continue;
        plan.push_back({unit.module() + kInputScale, {1}, "F32"});
        if (!inputs->format.symmetric) plan.push_back({unit.module() + kInputZero, {1}, "I8"});
      }
    };
    add(before_);
    for (const std::vector<Unit>& block : blocks_) add(block);
    add(after_);
    return plan;
  }

  /// All values of a unit, with those of block formats rounded to bfloat16.
  std::vector<float> values(const Unit& unit) const {
    std::vector<float> values;
    if (from_gguf() && !unit.keys.empty()) {
      // Rows in the order of Hugging Face, whatever the file's.
      const auto [rows, columns] = checkpoint_.weights().shape(unit.keys[0].role);
      values.resize(static_cast<size_t>(rows * columns));
      checkpoint_.weights().read_rows(unit.keys[0], 0, rows, values.data());
    } else {
      values = read_tensor(*unit.source);
    }
    if (unit.source->format->block_values > 1)
      for (float& value : values) value = round_to_type("BF16", value);
    return values;
  }

 private:
  /// Outside of blocks: those before them or those after.
  std::vector<Unit> units_of(int layer, bool before) {
    std::vector<Unit> units;
    std::map<std::string, size_t> index;
    for (const WeightKey& key : layer < 0 ? outside() : weight_keys(a_, layer)) {
      if (layer < 0 && before != (key.role < Role::ln1)) continue;
      const TensorInfo& tensor = checkpoint_.weights().tensor(key);
      const std::string name = from_gguf() ? huggingface_name(a_, key) : tensor.name;
      if (const auto found = index.find(name); found != index.end()) {
        units[found->second].keys.push_back(key);
        continue;
      }
      if (!taken_.insert(name).second) continue;  // tied to one before
      Unit unit{name, tensor.shape, &tensor, {key}, layer >= 0 && linear_role(key.role)};
      if (from_gguf()) {
        const auto [rows, columns] = checkpoint_.weights().shape(key.role);
        unit.shape = columns == 1 ? std::vector{rows} : std::vector{rows, columns};
      }
      index.emplace(name, units.size());
      units.push_back(std::move(unit));
    }
    return units;
  }

  std::vector<WeightKey> outside() const { return weight_keys(a_, -1); }

  void check(const Unit& unit, const WeightRecipe& recipe) const {
    if (checkpoint_.weights().place(unit.keys[0]).transposed)
      fail("{}: tensor '{}' is stored [in, out]: {} models have no linear layers that compressed-tensors could name",
           unit.source->file, unit.name, a_.family);
    if (unit.shape.size() != 2 || !unit.name.ends_with(".weight"))
      fail("{}: tensor '{}' is no matrix of one linear layer, which is all that compressed-tensors can name",
           unit.source->file, unit.name);
    if (unit.source->quantized)
      fail("{}: tensor '{}' is quantized already; give the original checkpoint", unit.source->file, unit.name);
    check_groups(recipe.rounding.format, unit.columns(), unit.name);
    if (recipe.inputs && !linear_role(unit.keys[0].role)->site)
      fail_usage("what '{}' ({}) reads has no scale that could be saved", unit.name, role_name(unit.keys[0].role));
    const std::optional<Site> site = linear_role(unit.keys[0].role)->site;
    if (recipe.activations && recipe.activations->basis(Site::attn_in, 0).changes() && (!site || a_.latent))
      fail_usage(
          "'{}' ({}) does not read a site of quantized activations alone, so it has no rotation of theirs; "
          "choose a method that does not rotate, or leave weights as they are",
          unit.name, role_name(unit.keys[0].role));
    if (!recipe.gptq) return;
    if (!site)
      fail_usage("GPTQ needs to see what a layer reads, and '{}' ({}) has no hook point; use --weights rtn", unit.name,
                 role_name(unit.keys[0].role));
  }

  const Checkpoint& checkpoint_;
  const Architecture& a_;
  std::vector<Unit> before_, after_;
  std::vector<std::vector<Unit>> blocks_;
  std::set<std::string> taken_;
};

/// Calibration tokens on their way through the blocks.
class Calibration {
 public:
  Calibration(const Checkpoint& checkpoint, const TokenBatch& tokens, const WeightRecipe& recipe)
      : original_(checkpoint.weights()),
        weights_(original_),
        prefix_(recipe.activations && recipe.as_run ? recipe.activations->prefix() : std::vector<int64_t>()),
        tokens_(with_prefix(tokens, prefix_)),
        of_prefix_(prefix_rows(tokens_, prefix_.size())),
        recipe_(recipe) {
    // Attached once for all blocks: which tokens are spike tokens is known from the block of birth on.
    if (recipe.activations && recipe.as_run) recipe.activations->attach(interventions_, tokens_);
  }

  /// Sees what the block's matrices read, in the basis in which they are rounded: moments by hook point.
  void observe(int layer, const std::vector<Unit>& units) {
    moments_.clear();
    Hooks hooks = interventions_;
    for (const Unit& unit : units) {
      if (!unit.quantized) continue;
      const HookPoint point = input_point(weights_.architecture(), unit.keys[0]);
      if (!moments_.try_emplace(point.name(), unit.columns()).second) continue;
      InputMoments& moments = moments_.at(point.name());
      const SiteBasis basis = basis_of(weights_.architecture(), unit, recipe_);
      hooks.observe(point.name(), [this, &moments, basis](const Activation& a) {
        const int64_t rows = a.values.rows(), size = a.values.row_size();
        if (!basis.changes() && prefix_.empty()) {
          moments.add({a.values.data, rows, size, a.values.row_stride});
          return;
        }
        turned_.resize(static_cast<size_t>(rows * size));
        int64_t own = 0;
        for (int64_t row = 0; row < rows; ++row)
          if (!of_prefix_[static_cast<size_t>(a.first_row + row)])
            std::copy_n(a.values.row(row), size, turned_.data() + own++ * size);
        if (own == 0) return;
        // The rounded matrix is multiplied with the means too.
        if (basis.changes()) basis.to_with_means({turned_.data(), {own, size}, size});
        moments.add({turned_.data(), own, size, size});
      });
    }
    run(layer, hooks);
  }
  const InputMoments& moments(const Unit& unit) const {
    return moments_.at(input_point(weights_.architecture(), unit.keys[0]).name());
  }

  /// From now on the unit is read from `tensor`, in the layout of the new checkpoint.
  void replace(const Unit& unit, const TensorInfo& tensor, bool plain) {
    for (const WeightKey& key : unit.keys)
      weights_.replace(key, tensor, plain ? WeightPlace{tensor.name} : weights_.place(key));
  }

  /// From now on the unit is read from where it was at first.
  void restore(const Unit& unit) {
    for (const WeightKey& key : unit.keys) weights_.replace(key, original_.tensor(key), original_.place(key));
  }

  /// Goes through the block as it is now.
  void pass(int layer) {
    std::vector<float> next(tokens_.ids.size() * static_cast<size_t>(weights_.architecture().d_model));
    Hooks hooks = interventions_;
    hooks.observe(HookPoint{Point::resid_post, layer}.name(), [&next](const Activation& a) {
      for (int64_t row = 0; row < a.values.rows(); ++row)
        std::copy_n(a.values.row(row), a.values.row_size(), next.data() + (a.first_row + row) * a.values.row_size());
    });
    run(layer, hooks);
    residual_ = std::move(next);
  }

 private:
  void run(int layer, const Hooks& hooks) {
    PassObserver nothing;
    RunOptions options;
    options.first_layer = layer;
    if (layer > 0) options.residual = residual_;
    run_model(weights_, tokens_, hooks, nothing, options);
  }

  const ModelWeights& original_;
  ModelWeights weights_;  // a copy, in which the block at work is replaced
  const std::vector<int64_t> prefix_;      // in front of each window, where the weights are for a run behind it
  const TokenBatch tokens_;                // with the prefix
  const std::vector<uint8_t> of_prefix_;   // [N] whether the token belongs to it: these do not count
  const WeightRecipe& recipe_;
  Hooks interventions_;
  std::vector<float> residual_;  // [N, d], what enters the block
  std::vector<float> turned_;    // of one piece of a hook point
  std::map<std::string, InputMoments> moments_;
};

/// A quantized matrix as a tensor whose bytes are in memory.
struct QuantizedUnit {
  std::vector<StoredPart> parts;
  TensorInfo tensor;

  QuantizedUnit(const Unit& unit, const QuantizedMatrix& matrix, const Rounding& rounding)
      : parts(stored_parts(matrix, rounding)) {
    const auto info = [&](const StoredPart& part) {
      return TensorInfo{unit.module() + "." + part.suffix, part.shape, find_safetensors_format(part.dtype), part.bytes,
                        "the quantized weights"};
    };
    QuantizedParts joined{.values = info(parts[0]), .scales = info(parts[1]), .zero_points = {}, .shape = unit.shape};
    if (!rounding.format.symmetric) joined.zero_points = info(parts.back());
    tensor = quantized_tensor(unit.name, joined, rounding.format);
  }

  /// Of values that come out of another basis, with no parts of their own in the layout.
  QuantizedUnit(const Unit& unit, const std::vector<float>& values)
      : parts{{"weight", "F32", unit.shape, floats_as("F32", values)}},
        tensor{unit.name, unit.shape, find_safetensors_format("F32"), parts[0].bytes, "the quantized weights"} {}
};

int64_t bytes_of(const std::vector<StoredPart>& parts) {
  int64_t bytes = 0;
  for (const StoredPart& part : parts) bytes += static_cast<int64_t>(part.bytes.size());
  return bytes;
}

/// The values that the rounded ones stand for.
std::vector<float> dequantized(const QuantizedMatrix& matrix, const WeightFormat& format) {
  std::vector<float> values(matrix.values.size());
  for (int64_t row = 0; row < matrix.rows; ++row)
    for (int64_t column = 0; column < matrix.columns; ++column) {
      const auto at = static_cast<size_t>(row * matrix.columns + column);
      values[at] = dequantize_value(matrix.values[at], matrix.scale(format, row, column));
    }
  return values;
}

/// Writes what is kept as it is.
void write_kept(const Plan& plan, const Unit& unit, SafetensorsWriter& writer) {
  if (!unit.source->format->safetensors.empty() && !plan.from_gguf()) {
    writer.write(unit.name, unit.source->bytes);
    return;
  }
  writer.write(unit.name, floats_as(kept_type(*unit.source), plan.values(unit)));
}

/// Writes the grid of what a unit's layer reads.
void write_input_scale(const Unit& unit, const ActivationScale& scale, bool symmetric, SafetensorsWriter& writer) {
  writer.write(unit.module() + kInputScale, floats_as("F32", {&scale.scale, 1}));
  if (!symmetric) writer.write(unit.module() + kInputZero, std::vector{static_cast<std::byte>(scale.zero_point)});
}

/// Adds sum (w - q)^2 and sum w^2.
void add_errors(const std::vector<float>& values, const std::vector<float>& quantized, double& error, double& size) {
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = static_cast<double>(values[i]), rest = value - static_cast<double>(quantized[i]);
    error += rest * rest;
    size += value * value;
  }
}

bool copy_files(const fs::path& from, const fs::path& to) {
  for (const char* name : kOtherFiles)
    if (fs::is_regular_file(from / name)) fs::copy_file(from / name, to / name, fs::copy_options::overwrite_existing);
  return fs::exists(to / "tokenizer.json");
}

bool write_tokenizer(const Checkpoint& checkpoint, const fs::path& own, const fs::path& folder) {
  const Json& metadata = checkpoint.gguf_metadata();
  bool there = false;
  if (metadata.is_null()) {
    there = copy_files(checkpoint.path(), folder);
  } else if (own.empty() && metadata.contains("tokenizer.ggml.model")) {
    if (const auto files = tokenizer_files_of_gguf(metadata, checkpoint.path().filename().string())) {
      write_file(folder / "tokenizer.json", files->tokenizer.dump(1) + "\n");
      write_file(folder / "tokenizer_config.json", files->config.dump(1) + "\n");
      there = true;
    }
  }
  if (own.empty()) return there;
  if (!fs::exists(own / "tokenizer.json")) fail("{}: no tokenizer.json in this folder", own.string());
  return copy_files(own, folder);
}

void write_config(const Checkpoint& checkpoint, const Json& quantization, const fs::path& folder) {
  Json config = checkpoint.gguf_metadata().is_null() ? read_json_file(checkpoint.path() / "config.json")
                                                     : huggingface_config(checkpoint.architecture());
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  write_file(folder / "config.json", config.dump(2) + "\n");
}

void check_recipe(const Checkpoint& checkpoint, const WeightRecipe& recipe, const TokenBatch& calibration) {
  const WeightFormat& format = recipe.rounding.format;
  if (format.bits < 2 || format.bits > 8) fail_usage("weights of {} bits: choose 2 to 8", format.bits);
  if (!format.packed && format.scope == WeightFormat::Scope::group)
    fail_usage("weights of a byte each have a scale a row or tensor, no groups");
  if (recipe.gptq && calibration.ids.empty()) fail_usage("GPTQ needs calibration tokens: give it --text FILE");
  const Architecture& a = checkpoint.architecture();
  if (recipe.gptq && (a.latent || !a.norms_before()))
    fail_usage("GPTQ needs to see what a layer reads; in {} models that is no hook point: use --weights rtn", a.family);
  if (!checkpoint.tower().empty()) fail_usage("one tower of two cannot be saved by itself");
}

}  // namespace

WeightSizes weight_sizes(const Checkpoint& checkpoint) {
  WeightSizes sizes;
  const auto add = [&](const TensorInfo& tensor, bool matrix) {
    const int64_t bytes = !tensor.quantized && tensor.format->block_values > 1
                              ? tensor.values() * find_safetensors_format("BF16")->block_bytes
                              : tensor.stored_bytes();
    sizes.all += bytes;
    if (matrix) sizes.matrices += bytes;
  };
  std::set<const TensorInfo*> counted;  // several weights may lie in one
  const Architecture& a = checkpoint.architecture();
  for (int layer = -1; layer < a.n_layers; ++layer)
    for (const WeightKey& key : weight_keys(a, layer))
      if (const TensorInfo& tensor = checkpoint.weights().tensor(key); counted.insert(&tensor).second)
        add(tensor, layer >= 0 && linear_role(key.role));
  if (checkpoint.gguf_metadata().is_null())
    for (const std::string& name : checkpoint.unused_tensors()) add(checkpoint.tensors().require(name), false);
  return sizes;
}

Json quantization_config(const Rounding& rounding, const std::vector<std::string>& ignore, bool act_order,
                         const ActivationFormat* inputs) {
  const WeightFormat& format = rounding.format;
  Json weights = {{"num_bits", format.bits},       {"type", "int"},
                  {"symmetric", format.symmetric}, {"strategy", scope_name(format.scope)},
                  {"group_size", nullptr},         {"dynamic", false}};
  if (format.scope == WeightFormat::Scope::group) weights["group_size"] = format.group;
  if (act_order) weights["actorder"] = "weight";
  Json activations = nullptr;
  if (inputs)
    activations = {{"num_bits", inputs->bits},     {"type", "int"},         {"symmetric", inputs->symmetric},
                   {"strategy", inputs->strategy}, {"group_size", nullptr}, {"dynamic", inputs->dynamic}};
  const char* layout = format.packed ? "pack-quantized" : "int-quantized";
  return {{"quant_method", "compressed-tensors"},
          {"format", layout},
          {"quantization_status", "compressed"},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}}, {"weights", weights}, {"input_activations", activations}, {"format", layout}}}}},
          {"ignore", ignore}};
}

WeightSummary quantize_weights(const Checkpoint& checkpoint, const WeightRecipe& recipe, const TokenBatch& tokens,
                               const fs::path& out, const WeightProgress& progress) {
  check_recipe(checkpoint, recipe, tokens);
  const Rounding& rounding = recipe.rounding;
  const Plan plan(checkpoint, recipe);
  if (fs::exists(out) && !(fs::is_directory(out) && fs::is_empty(out)))
    fail("{}: is there already; choose another folder, or remove it", out.string());
  const fs::path target = fs::absolute(out).lexically_normal();
  const fs::path parent = (target.has_filename() ? target : target.parent_path()).parent_path();
  fs::create_directories(parent);
  const ScratchFolder scratch(parent, ".spikescope-quantize-");
  const fs::path folder = scratch / "model";
  fs::create_directory(folder);

  const bool plain = recipe.activations && recipe.activations->basis(Site::attn_in, 0).changes();
  write_config(checkpoint,
               plain ? Json()
                     : quantization_config(rounding, plan.ignored(), recipe.gptq && recipe.gptq->act_order,
                                           recipe.inputs ? &recipe.inputs->format : nullptr),
               folder);
  WeightSummary summary;
  summary.has_tokenizer = write_tokenizer(checkpoint, recipe.tokenizer, folder);
  SafetensorsWriter writer(folder / "model.safetensors", plan.tensors(recipe), {{"format", "pt"}});
  std::optional<Calibration> calibration;
  if (recipe.gptq) calibration.emplace(checkpoint, tokens, recipe);

  for (const Unit& unit : plan.before()) write_kept(plan, unit, writer);
  const int layers = static_cast<int>(checkpoint.architecture().n_layers);
  double error = 0.0, size = 0.0, output_errors = 0.0;
  for (int layer = 0; layer < layers; ++layer) {
    const std::vector<Unit>& units = plan.block(layer);
    if (calibration) calibration->observe(layer, units);
    std::vector<std::unique_ptr<QuantizedUnit>> quantized;  // read until the block is done
    for (size_t i = 0; i < units.size(); ++i) {
      const Unit& unit = units[i];
      if (progress)
        progress((layer + static_cast<double>(i) / static_cast<double>(units.size())) / layers,
                 fmt::format("block {} of {}", layer + 1, layers));
      if (!unit.quantized) {
        write_kept(plan, unit, writer);
        continue;
      }
      const std::vector<float> values = plan.values(unit);
      const SiteBasis basis = basis_of(checkpoint.architecture(), unit, recipe);
      std::vector<float> turned = values;
      basis.weights_to({turned.data(), {unit.rows(), unit.columns()}, unit.columns()});
      const ConstMatrixView matrix(turned.data(), unit.rows(), unit.columns(), unit.columns());
      const QuantizedMatrix rounded = calibration ? gptq(matrix, calibration->moments(unit), rounding, *recipe.gptq)
                                                  : round_to_nearest(matrix, rounding);
      int64_t stored = 0;
      if (basis.changes()) {
        std::vector<float> back = dequantized(rounded, rounding.format);
        basis.weights_from({back.data(), {unit.rows(), unit.columns()}, unit.columns()});
        quantized.push_back(std::make_unique<QuantizedUnit>(unit, back));
        stored = bytes_of(stored_parts(rounded, rounding));
        summary.bytes += stored - bytes_of(quantized.back()->parts);
      } else {
        quantized.push_back(std::make_unique<QuantizedUnit>(unit, rounded, rounding));
        stored = bytes_of(quantized.back()->parts);
      }
      for (const StoredPart& part : quantized.back()->parts)
        writer.write(unit.module() + "." + part.suffix, part.bytes);
      summary.matrix_bytes += stored;
      if (recipe.inputs && !recipe.inputs->format.dynamic)
        write_input_scale(unit, plan.input_scale(*recipe.inputs, unit), recipe.inputs->format.symmetric, writer);
      ++summary.matrices;
      summary.values += unit.rows() * unit.columns();
      add_errors(values, read_tensor(quantized.back()->tensor), error, size);
      if (calibration)
        output_errors += output_error(matrix, rounded, rounding.format, calibration->moments(unit));
      else
        quantized.clear();
    }
    if (!calibration || layer + 1 == layers) continue;
    size_t next = 0;
    for (const Unit& unit : units)
      if (unit.quantized) calibration->replace(unit, quantized[next++]->tensor, plan.from_gguf());
    calibration->pass(layer);
    for (const Unit& unit : units) calibration->restore(unit);
  }
  for (const Unit& unit : plan.after()) write_kept(plan, unit, writer);
  writer.finish();

  summary.bytes += writer.file_bytes();
  if (summary.values > 0)
    summary.bits_a_value = 8.0 * static_cast<double>(summary.matrix_bytes) / static_cast<double>(summary.values);
  summary.weight_error = size > 0.0 ? error / size : 0.0;
  summary.output_error = summary.matrices > 0 ? output_errors / static_cast<double>(summary.matrices) : 0.0;
  if (recipe.companions) recipe.companions(folder);
  fs::remove(out);  // an empty folder
  fs::rename(folder, out);
  return summary;
}

}  // namespace spikescope
