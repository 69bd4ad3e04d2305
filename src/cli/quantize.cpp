#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "capture/corpus.h"
#include "cli/command.h"
#include "cli/evaluation_options.h"
#include "cli/quantization_output.h"
#include "io/scratch_folder.h"
#include "model/gemm.h"
#include "model/int8_product.h"
#include "model/runner.h"
#include "quant/prefix.h"
#include "quant/template_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, bos = "auto";
  fs::path templates, save, tokenizer, recipe_file;
  TableOutput out;
  WindowOptions text{.windows = 40, .length = 512}, calibration{.windows = 32, .length = 512};
  TaskOptions tasks{.usual_rows = 200};
  RowRequest rows{.bits_activation = {8}};
  Dtype dtype = Dtype::float32;
};

class Quantization {
 public:
  Quantization(Options& options, const Session& session) : options_(options), session_(session) {
    tasks_ = tasks_of(options.tasks, session);
    const fs::path path = resolve_model(options.model);
    if (!Checkpoint::towers(path).empty())
      fail_usage("quantization is judged by the loss of the next token, which a model of texts and images has not");
    checkpoint_ = Checkpoint::open(path, options.as);
    require_sites(checkpoint_->architecture());
    if (!options.templates.empty()) {
      templates_ = read_templates(options.templates);
      check_templates_of(*templates_, options.templates, checkpoint_->sha256(), checkpoint_->architecture());
    }
    rows_ = quantization_rows(options.rows, templates());
    check();
  }

  int run() {
    const Tokenizer tokenizer = checkpoint_->tokenizer();
    const std::optional<int64_t> bos = bos_in_front(parse_bos(options_.bos), tokenizer);
    const std::vector<int64_t> prefix = prefix_of_rows();
    const auto in_front = static_cast<int64_t>(prefix.size());
    std::optional<TextWindows> windows;
    if (options_.text.text) windows = windows_of(options_.text, checkpoint_->architecture(), tokenizer, bos, in_front);
    if (windows && in_front > 0)
      check_prompts(with_prefix(window_batch(*windows, 0, 1), prefix), checkpoint_->architecture());
    if (needs_calibration()) {
      const TextWindows text = windows_of(options_.calibration, checkpoint_->architecture(), tokenizer, bos, in_front);
      calibration_ = window_batch(text, 0, text.count());
    }
    prepare_products(options_.dtype, checkpoint_->architecture(), session_);
    for (const QuantizationRow& row : rows_)
      if (row.real) check_int8_products(row.activations.bits);
    began_ = std::chrono::steady_clock::now();
    if (windows) {
      meter_.emplace(*checkpoint_, tokenizer, *windows, std::move(tasks_), at_work("fp"));
      keep(meter_->reference());
    }
    for (size_t i = 0; i < rows_.size();) {
      // Rows with the same weights stand together.
      size_t last = i + 1;
      while (last < rows_.size() && same_weights(rows_[i], rows_[last])) ++last;
      measure(std::span(rows_).subspan(i, last - i));
      i = last;
    }
    progress_.done();
    finish(windows ? &*windows : nullptr, bos_text(bos, tokenizer));
    return 0;
  }

 private:
  const SpikeTemplates* templates() const { return templates_ ? &*templates_ : nullptr; }

  /// What stands in front of every window in some rows; empty: in none.
  std::vector<int64_t> prefix_of_rows() const {
    const bool any = std::any_of(rows_.begin(), rows_.end(), [](const QuantizationRow& row) {
      return row.activations.quantizes() && find_activation_method(row.activations.method).prefixed();
    });
    return any ? templates_->prefix.ids : std::vector<int64_t>();
  }

  bool needs_calibration() const {
    return std::any_of(rows_.begin(), rows_.end(), [](const QuantizationRow& row) {
      return row.weights.quantizes() && row.weights.method == "gptq";
    });
  }

  /// All that cannot be is said before anything runs.
  void check() const {
    if (!options_.text.text && options_.save.empty())
      fail_usage("quantize: say --text FILE, to see what becomes of the loss, or --save DIR, for a quantized model");
    if (!options_.text.text && !tasks_.empty()) fail_usage("--tasks go with the losses on a text: say --text FILE");
    options_.out.check(options_.text.text.has_value());
    if (needs_calibration() && !options_.calibration.text)
      fail_usage("--weights gptq needs calibration text: --calibration FILE");
    for (const QuantizationRow& row : rows_) {
      if (row.weights.quantizes()) weight_recipe(row.weights);
      if (!row.activations.quantizes()) continue;
      if (!templates_)
        fail_usage("--method {}: say --templates FILE, of 'spikescope templates'", row.activations.method);
      if (row.is_contradictory())
        fail_usage(
            "--method {} with --bits-weight: weights are rounded as they are, not times the scales that smoothing "
            "gives them; leave one of the two out",
            row.activations.method);
      const SimulatedActivations activations(checkpoint_->architecture(), *templates_,
                                             activation_plan(row.activations, *templates_));
      if (row.real) check_real(row, activations);
    }
    if (options_.save.empty()) return;
    if (std::count_if(rows_.begin(), rows_.end(), [](const QuantizationRow& row) { return !row.real; }) != 1 ||
        !rows_[0].weights.quantizes())
      fail_usage("--save writes one model: say one --bits-weight, and one --method and --bits-activation at most");
    if (rows_[0].rotates())
      fail_usage(
          "--save: with method '{}' weights are rounded after a rotation, which compressed-tensors has no word for; "
          "choose a method that does not rotate",
          rows_[0].activations.method);
  }

  void check_real(const QuantizationRow& row, const SimulatedActivations& activations) const {
    if (!options_.text.text) fail_usage("--real measures perplexity: say --text FILE");
    if (const WeightFormat format = weight_recipe(row.weights).rounding.format;
        !format.symmetric || format.scope == WeightFormat::Scope::group)
      fail_usage("--real takes weights with one scale a row or tensor: say --group channel, no --asymmetric-weights");
    activations.int8_inputs();
  }

  std::function<void(double)> at_work(std::string name) {
    return [this, name = std::move(name)](double fraction) {
      interrupt_.check();
      progress_.update((static_cast<double>(done_) + fraction) / static_cast<double>(rows_.size() + 1), name);
    };
  }

  /// Rows that have their weights in common.
  void measure(std::span<const QuantizationRow> rows) {
    const ScratchFolder scratch;
    std::unique_ptr<Checkpoint> quantized;
    int64_t matrix_bytes = meter_ ? meter_->sizes().matrices : 0;
    if (rows[0].weights.quantizes()) {
      const fs::path folder = options_.save.empty() ? scratch / "model" : options_.save;
      matrix_bytes = write_weights(rows[0], folder).matrix_bytes;
      if (meter_) quantized = Checkpoint::open(folder, options_.as);
    }
    if (!meter_) return;
    const ModelWeights& weights = (quantized ? *quantized : *checkpoint_).weights();
    for (const QuantizationRow& row : rows) {
      ++done_;
      keep(meter_->measure(row, weights, matrix_bytes, templates(), at_work(row.name())));
    }
  }

  WeightSummary write_weights(const QuantizationRow& row, const fs::path& folder) {
    WeightRecipe recipe = weight_recipe(row.weights);
    std::optional<SimulatedActivations> activations;
    if (row.rotates() || row.has_own_weights()) {
      activations.emplace(checkpoint_->architecture(), *templates_, activation_plan(row.activations, *templates_));
      recipe.activations = &*activations;
    }
    recipe.tokenizer = options_.tokenizer;
    const bool with_activations = options_.save == folder && row.activations.quantizes();
    if (with_activations) save_inputs(row, recipe);
    recipe.companions = [&](const fs::path& to) {
      write_recipe(to, {row.activations, row.weights}, with_activations ? templates() : nullptr);
    };
    const WeightSummary summary = quantize_weights(
        *checkpoint_, recipe, calibration_, folder,
        [&](double fraction, const std::string& part) { at_work(fmt::format("weights, {}", part))(fraction); });
    if (options_.save != folder) return summary;
    if (recipe.inputs && !recipe.inputs->format.dynamic && !templates_->sets.empty() &&
        find_activation_method(row.activations.method).spikes != Spikes::kept)
      note(session_, "other programs read the scales of activations, but put no templates in the place of spikes");
    saved_ = {{"folder", folder.string()},
              {"weights", row.weights.method},
              {"format", recipe.rounding.format.text()},
              {"matrices", summary.matrices},
              {"values", summary.values},
              {"bits_a_value", summary.bits_a_value},
              {"bytes", summary.bytes},
              {"weight_error", summary.weight_error},
              {"output_error", recipe.gptq ? Json(summary.output_error) : Json(nullptr)}};
    if (!summary.has_tokenizer)
      note(session_,
           "no tokenizer.json was written: this file's tokenizer has no such form here; give --tokenizer FOLDER "
           "of the model's Hugging Face folder");
    return summary;
  }

  /// Weights of 8 bits and the scales of activations in the layout that others multiply whole numbers with.
  void save_inputs(const QuantizationRow& row, WeightRecipe& recipe) const {
    WeightFormat& format = recipe.rounding.format;
    if (format.bits != 8 || !format.symmetric || format.scope == WeightFormat::Scope::group) return;
    recipe.inputs =
        SimulatedActivations(checkpoint_->architecture(), *templates_, activation_plan(row.activations, *templates_))
            .saved_inputs();
    if (recipe.inputs) format.packed = false;
  }

  void keep(MeasuredRow row) {
    progress_.pause();
    if (!session_.json) {
      if (measured_.empty()) print_row_heading(row.json.contains("zero_shot"));
      print_row(row.json);
    }
    measured_.push_back(std::move(row));
  }

  void finish(const TextWindows* windows, const std::string& bos) {
    Json json = {{"model", model_name(options_.model)},
                 {"model_sha256", checkpoint_->sha256()},
                 {"dtype", dtype_name(options_.dtype)},
                 {"bos", bos},
                 {"command", session_.command_line}};
    if (templates_) json["templates"] = options_.templates.string();
    if (windows) {
      json["text"] = windows->file;
      json["ids_sha256"] = windows->ids_sha256;
      json["windows"] = windows->count();
      json["length"] = windows->length;
      json["tokens"] = windows->ids.size();
      json["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
      for (const MeasuredRow& row : measured_) json["rows"].push_back(row.json);
    }
    if (!saved_.is_null()) json["saved"] = saved_;
    const fs::path page = write_table(options_.out, json, measured_, session_);
    if (!session_.json) print_speeds();
    if (session_.json) {
      if (!page.empty()) {
        json["page"] = page.string();
        json["results"] = options_.out.results().string();
      }
      fmt::print("{}\n", json_text(json));
      return;
    }
    if (!saved_.is_null()) print_saved_model(saved_);
    if (!page.empty()) fmt::print("page: {}\n", page.string());
  }

  /// What whole numbers bring, where some run used them.
  void print_speeds() const {
    if (std::none_of(rows_.begin(), rows_.end(), [](const QuantizationRow& row) { return row.real; })) return;
    fmt::print("products of 8 bits: {}; others: {} in {}\n", int8_kernel(), product_kernel(),
               dtype_name(options_.dtype));
    for (const MeasuredRow& row : measured_)
      fmt::print("  {:<24}{:>10.0f} tokens/s\n", row.json.at("method").get<std::string>(),
                 row.json.at("tokens_per_second").get<double>());
  }

  const Options& options_;
  const Session& session_;
  const InterruptGuard interrupt_;
  Progress progress_{"quantize", session_.quiet};
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<SpikeTemplates> templates_;
  std::vector<TaskRows> tasks_;
  std::vector<QuantizationRow> rows_;
  TokenBatch calibration_;
  std::chrono::steady_clock::time_point began_;
  std::optional<RowMeter> meter_;
  size_t done_ = 0;
  std::vector<MeasuredRow> measured_;
  Json saved_;
};

int quantize(Options& options, const Session& session) {
  set_threads(session.threads);
  RowRequest& rows = options.rows;
  if (!options.recipe_file.empty()) {
    rows.recipe = recipe_from_json(read_json_file(options.recipe_file), options.recipe_file.string());
    if (rows.recipe.activations.quantizes()) rows.methods = {rows.recipe.activations.method};
    rows.bits_activation = {rows.recipe.activations.bits};
    if (rows.recipe.weights.quantizes()) rows.bits_weight = {rows.recipe.weights.bits};
  }
  return Quantization(options, session).run();
}

template <class Rows>
std::string table_text(const Rows& rows) {
  std::string text;
  for (const auto& row : rows) text += fmt::format("  {:<24}{}\n", row.name, row.meaning);
  return text;
}

void add_activation_options(CLI::App& command, Options& options) {
  ActivationRecipe& recipe = options.rows.recipe.activations;
  const std::string group = "Activations";
  command.add_option("--templates", options.templates, "File of 'spikescope templates', of the same model")
      ->group(group);
  command.add_option("--method", options.rows.methods, "What to try (repeatable), of the methods below")->group(group);
  command
      .add_option("--bits-activation", options.rows.bits_activation,
                  "Bits of activations; several: all of them, one after the other")
      ->check(CLI::Range(kFewestBits, kMostBits))
      ->capture_default_str()
      ->group(group);
  command.add_option("--override", recipe.overrides, "Another clip at some sites (repeatable), as said below")
      ->allow_extra_args(false)
      ->group(group);
  command
      .add_option("--smooth", recipe.smooth,
                  "SmoothQuant: how much of the difficulty goes from activations to weights, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--outliers", recipe.outliers,
                  "outlier-split: channels whose largest magnitude in the calibration exceeds this are not quantized")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--bits-kv", recipe.bits_kv, "Bits of keys and values in the cache, a scale a token and head [none]")
      ->check(CLI::Range(kFewestBits, kMostBits))
      ->group(group);
  command.add_flag("--asymmetric", recipe.asymmetric, "Grids from the lowest to the highest value")->group(group);
  command
      .add_flag("--exact-templates", recipe.exact_templates,
                "Templates are not rounded, as where what they give is computed beforehand")
      ->group(group);
  command
      .add_flag("--end-with-residual", recipe.end_with_residual,
                "End with R in the residual stream where F could take the final norm's place")
      ->group(group);
}

void add_weight_options(CLI::App& command, Options& options) {
  WeightChoice& weights = options.rows.recipe.weights;
  const std::string group = "Weights";
  command
      .add_option("--bits-weight", options.rows.bits_weight,
                  "Bits of a weight; several: all of them; none: as they are")
      ->check(CLI::Range(2, 8))
      ->group(group);
  command.add_option("--group", weights.group, "Columns of a row that share a scale, or: channel, tensor")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--weights", weights.method, "rtn: each to the nearest; gptq: with regard to what the layers read")
      ->check(CLI::IsMember({"rtn", "gptq"}))
      ->capture_default_str()
      ->group(group);
  command.add_flag("--asymmetric-weights", weights.asymmetric, "With zero points")->group(group);
  command.add_option("--clip-weights", weights.clip, "absmax clips nothing; mse where the squared error is least")
      ->check(CLI::IsMember({"absmax", "mse"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--scales", weights.scales, "Type of the scales")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--damping", weights.damping, "Of GPTQ, over the mean of its Hessian's diagonal")
      ->check(CLI::Range(1e-6, 10.0))
      ->capture_default_str()
      ->group(group);
  command.add_flag("--act-order", weights.act_order, "GPTQ: largest inputs first")->group(group);
  command
      .add_flag(
          "!--plain-calibration", weights.as_run,
          "GPTQ: what layers read in the model as it is, not in the run's own pass with its templates and quantized "
          "activations")
      ->group(group);
  add_window_options(command, options.calibration, group, "GPTQ: calibration text", "calibration");
}

}  // namespace

void add_quantize(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("quantize", "Quantize activations and weights, see what becomes of the loss, save the model");
  command->footer(fmt::format(
      R"(Activations: what the matrices of each block read (attn_in, o_in, mlp_in, down_in) is rounded, in simulation, to a grid of
a few bits, with scales and templates from 'spikescope templates'. Weights: the linear layers of the blocks, by RTN or
GPTQ. With --text, losses on its windows are compared with those of the model as it is; with --tasks, so are answers to
questions. --save writes the model as a
Hugging Face folder in the layout of compressed-tensors, which transformers, vLLM and this program (--model DIR) load; what
that layout cannot say (templates, scales of activations) travels beside it, and 'spikescope evaluate' heeds it.

Methods:
{}
Clips, for --override SITE[:BLOCKS]=CLIP[:BITS]:
{}
Examples:
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --windows 40 --length 512 \
    --method naive --method insertquant
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --compare \
    --bits-activation 8 6 4 --bits-weight 4 --tasks tasks --rows 200 --out runs/smol
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --method insertquant \
    --override down_in:1,2,9,10=dynamic --override o_in=none
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --method insertquant \
    --bits-weight 8 --real
  spikescope quantize --model smollm2-135m --bits-weight 4 --weights gptq --calibration wiki.valid.txt --save w4)",
      table_text(activation_methods()), table_text(clip_kinds())));
  auto options = std::make_shared<Options>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_flag("--compare", options->rows.compare,
                    "Try all methods, with weights as they are and with --bits-weight");
  command->add_option("--recipe", options->recipe_file,
                      fmt::format("Do what this file says ({} of a saved model)", kRecipeFile));
  command->add_option("--save", options->save, "Folder for the quantized model, which must not exist or be empty");
  command->add_option("--tokenizer", options->tokenizer, "Folder whose tokenizer files go along, for GGUF files");
  command->add_option(
      "--out", options->out.given,
      "FILE.json, FILE.csv or FILE.md for the table; or a folder, for results/quantize.json, which reports "
      "of that folder show, and quantize/index.html");
  add_window_options(*command, options->text, "Evaluation", "Text to predict");
  add_task_options(*command, options->tasks);
  add_activation_options(*command, *options);
  add_weight_options(*command, *options);
  command
      ->add_flag("--real", options->rows.real,
                 "Also compute in whole numbers of 8 bits, with LibTorch's quantized kernels, what is simulated "
                 "(--group channel if none is said)")
      ->group("Evaluation");
  add_bos_option(*command, options->bos);
  add_dtype_option(*command, options->dtype);
  command->callback([options, command, &session] {
    if (options->rows.real && command->count("--group") == 0) options->rows.recipe.weights.group = "channel";
    session.action = [options, &session] { return quantize(*options, session); };
  });
}

}  // namespace spikescope
