#include <fmt/format.h>

#include <optional>

#include "analyses/labels.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/text.h"
#include "capture/corpus.h"
#include "cli/command.h"
#include "io/output_file.h"
#include "io/scratch_folder.h"
#include "model/gemm.h"
#include "model/runner.h"
#include "quant/activation_losses.h"
#include "quant/prefix.h"
#include "quant/recipe.h"
#include "quant/template_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, bos = "auto";
  fs::path templates, save, tokenizer, recipe_file, out;
  PromptRequest text = {.windows = 40, .length = 512}, calibration = {.windows = 32, .length = 512};
  Recipe recipe;
  std::vector<std::string> methods;
  std::vector<int> bits_activation = {8}, bits_weight;
  bool compare = false;
  Dtype dtype = Dtype::float32;
};

/// A row of the table to be made.
struct Run {
  WeightChoice weights;
  ActivationRecipe activations;

  std::string name() const {
    return activations.quantizes() ? activations.method : weights.quantizes() ? weights.method : "fp";
  }
  /// Whether weights and activations get in each other's way: smoothed channels take scales from the activations that
  /// the weights would have to have when they are rounded.
  bool is_contradictory() const {
    return weights.quantizes() && activations.quantizes() &&
           find_activation_method(activations.method).channels == Channels::smoothed;
  }
  bool quantizes_activations() const {
    return activations.quantizes() && find_activation_method(activations.method).clip != Clip::none;
  }
};

/// Methods x bits, for each kind of weights: those as they are first.
std::vector<Run> runs_of(const Options& options, const std::optional<SpikeTemplates>& templates) {
  std::vector<std::string> names = options.methods;
  if (options.compare && templates)
    for (const ActivationMethod& method : activation_methods())
      if (why_not_possible(method, *templates).empty()) names.emplace_back(method.name);
  std::vector<int> bits_weight = options.bits_weight;
  if (options.compare || bits_weight.empty()) bits_weight.insert(bits_weight.begin(), 0);
  std::vector<Run> runs;
  for (const int bits : bits_weight) {
    Run run{options.recipe.weights, {}};
    run.weights.bits = bits;
    if (bits > 0 && (names.empty() || options.compare)) runs.push_back(run);
    for (const std::string& name : names) {
      run.activations = options.recipe.activations;
      run.activations.method = name;
      if (options.compare && run.is_contradictory()) continue;
      for (const int activation_bits : options.bits_activation) {
        run.activations.bits = activation_bits;
        runs.push_back(run);
        if (!run.quantizes_activations()) break;
      }
    }
  }
  if (runs.empty())
    fail_usage(
        "quantize: say --method NAME for activations, --bits-weight N for weights, or --compare for all methods");
  return runs;
}

DumpTokens read_windows_of(PromptRequest request, const Options& options, const Tokenizer& tokenizer) {
  request.bos = parse_bos(options.bos);
  return read_prompts(request, &tokenizer);
}

class Quantization {
 public:
  Quantization(Options& options, const Session& session) : options_(options), session_(session) {
    const fs::path path = resolve_model(options.model);
    if (!Checkpoint::towers(path).empty())
      fail_usage("quantization is judged by the loss of the next token, which a model of texts and images has not");
    checkpoint_ = Checkpoint::open(path, options.as);
    require_sites(checkpoint_->architecture());
    if (!options.templates.empty()) {
      templates_ = read_templates(options.templates);
      check_templates_of(*templates_, options.templates, checkpoint_->sha256(), checkpoint_->architecture());
    }
    runs_ = runs_of(options, templates_);
    check();
  }

  int run() {
    const Tokenizer tokenizer = checkpoint_->tokenizer();
    if (options_.text.text_file) {
      DumpTokens tokens = read_windows_of(options_.text, options_, tokenizer);
      windows_ = TokenBatch{std::move(tokens.ids), std::move(tokens.offsets)};
    }
    for (const Run& run : runs_)
      if (windows_ && run.activations.quantizes())
        check_prompts(with_prefix(*windows_, activation_plan(run.activations, *templates_).prefix),
                      checkpoint_->architecture());
    if (needs_calibration()) {
      DumpTokens tokens = read_windows_of(options_.calibration, options_, tokenizer);
      calibration_ = {std::move(tokens.ids), std::move(tokens.offsets)};
      check_prompts(calibration_, checkpoint_->architecture());
    }
    prepare_products(options_.dtype, checkpoint_->architecture(), session_);
    if (windows_) {
      comparison_.emplace(checkpoint_->weights(), *windows_, at_work("fp"));
      keep({}, comparison_->row(comparison_->reference()));
    }
    for (size_t i = 0; i < runs_.size();) {
      // Runs with the same weights stand together.
      size_t last = i;
      while (last < runs_.size() && runs_[last].weights.bits == runs_[i].weights.bits) ++last;
      measure(std::span(runs_).subspan(i, last - i));
      i = last;
    }
    progress_.done();
    finish(bos_description(options_.text, &tokenizer));
    return 0;
  }

 private:
  bool needs_calibration() const {
    return std::any_of(runs_.begin(), runs_.end(),
                       [](const Run& run) { return run.weights.quantizes() && run.weights.method == "gptq"; });
  }

  /// All that cannot be is said before anything runs.
  void check() const {
    if (!options_.text.text_file && options_.save.empty())
      fail_usage("quantize: say --text FILE, to see what becomes of the loss, or --save DIR, for a quantized model");
    if (needs_calibration() && !options_.calibration.text_file)
      fail_usage("--weights gptq needs calibration text: --calibration FILE");
    for (const Run& run : runs_) {
      if (run.weights.quantizes()) weight_recipe(run.weights);
      if (!run.activations.quantizes()) continue;
      if (!templates_)
        fail_usage("--method {}: say --templates FILE, of 'spikescope templates'", run.activations.method);
      if (run.is_contradictory())
        fail_usage(
            "--method {} with --bits-weight: weights are rounded as they are, not times the scales that smoothing "
            "gives "
            "them; leave one of the two out",
            run.activations.method);
      SimulatedActivations(checkpoint_->architecture(), *templates_, activation_plan(run.activations, *templates_));
    }
    if (options_.save.empty()) return;
    if (runs_.size() != 1 || !runs_[0].weights.quantizes())
      fail_usage("--save writes one model: say one --bits-weight, and one --method and --bits-activation at most");
  }

  std::function<void(double)> at_work(std::string name) {
    return [this, name = std::move(name)](double fraction) {
      interrupt_.check();
      progress_.update((static_cast<double>(done_) + fraction) / static_cast<double>(runs_.size() + 1), name);
    };
  }

  /// Runs that have their weights in common.
  void measure(std::span<const Run> runs) {
    const ScratchFolder scratch;
    std::unique_ptr<Checkpoint> quantized;
    int64_t bytes = 0;
    if (runs[0].weights.quantizes()) {
      const fs::path folder = options_.save.empty() ? scratch / "model" : options_.save;
      bytes = write_weights(runs[0], folder);
      if (windows_) quantized = Checkpoint::open(folder, options_.as);
    }
    if (!windows_) return;
    const ModelWeights& weights = (quantized ? *quantized : *checkpoint_).weights();
    for (const Run& run : runs) {
      ++done_;
      std::optional<SimulatedActivations> activations;
      if (run.activations.quantizes())
        activations.emplace(checkpoint_->architecture(), *templates_, activation_plan(run.activations, *templates_));
      Json row =
          comparison_->row(comparison_->run(weights, activations ? &*activations : nullptr, at_work(run.name())));
      if (bytes > 0) row["bytes"] = bytes;
      if (activations) add_particulars(*activations, row);
      keep(run, std::move(row));
    }
  }

  /// What single methods have to tell.
  void add_particulars(const SimulatedActivations& activations, Json& row) const {
    if (const double share = activations.share_of_outliers(); share > 0.0) row["share_of_outliers"] = share;
    if (!activations.prefix().empty())
      row["prefix"] = {{"ids", activations.prefix()}, {"text", templates_->prefix.text}};
  }

  /// Returns the size of the weights' file.
  int64_t write_weights(const Run& run, const fs::path& folder) {
    WeightRecipe recipe = weight_recipe(run.weights);
    recipe.tokenizer = options_.tokenizer;
    const bool with_activations = options_.save == folder && run.activations.quantizes();
    recipe.companions = [&](const fs::path& to) {
      write_recipe(to, {run.activations, run.weights}, with_activations ? &*templates_ : nullptr);
    };
    const WeightSummary summary = quantize_weights(
        *checkpoint_, recipe, calibration_, folder,
        [&](double fraction, const std::string& part) { at_work(fmt::format("weights, {}", part))(fraction); });
    if (options_.save != folder) return summary.bytes;
    saved_ = {{"folder", folder.string()},
              {"weights", run.weights.method},
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
    return summary.bytes;
  }

  void keep(const Run& run, Json measured) {
    const auto or_null = [](bool there, int bits) { return there ? Json(bits) : Json(nullptr); };
    Json row = {{"method", run.name()},
                {"bits_activation", or_null(run.quantizes_activations(), run.activations.bits)},
                {"bits_weight", or_null(run.weights.quantizes(), run.weights.bits)}};
    row.update(measured);
    progress_.pause();
    if (!session_.json) {
      if (rows_.empty())
        fmt::print("{:<24}{:>5}{:>5}{:>14}{:>12}{:>19}{:>12}{:>12}\n", "method", "A", "W", "perplexity", "nll",
                   "dnll (se)", "largest |h|", "new spikes");
      const auto bits = [&](const char* key) { return row.at(key).is_null() ? "-" : row.at(key).dump(); };
      fmt::print("{:<24}{:>5}{:>5}{:>14.3f}{:>12.4f}{:>19}{:>12}{:>12}\n", run.name(), bits("bits_activation"),
                 bits("bits_weight"), row.at("perplexity").get<double>(), row.at("nll").get<double>(),
                 fmt::format("{:+.4f} ({})", row.at("dnll").get<double>(), number(row.at("dnll_se"))),
                 number(row.at("largest_h")), format_count(row.at("new_spikes").get<int64_t>()));
      std::fflush(stdout);
    }
    rows_.push_back(std::move(row));
  }

  void finish(const std::string& bos) {
    Json json = {{"model", model_name(options_.model)},
                 {"model_sha256", checkpoint_->sha256()},
                 {"dtype", dtype_name(options_.dtype)},
                 {"bos", bos},
                 {"command", session_.command_line}};
    if (templates_) json["templates"] = options_.templates.string();
    if (windows_) {
      json["text"] = options_.text.text_file->filename().string();
      json["windows"] = options_.text.windows;
      json["length"] = options_.text.length;
      json["rows"] = rows_;
    }
    if (!saved_.is_null()) json["saved"] = saved_;
    if (!options_.out.empty()) write_file(options_.out, json_text(json) + "\n");
    if (session_.json) {
      fmt::print("{}\n", json_text(json));
    } else if (!saved_.is_null()) {
      fmt::print("{}: {} matrices by {}, {}\n", saved_.at("folder").get<std::string>(),
                 saved_.at("matrices").get<int64_t>(), saved_.at("weights").get<std::string>(),
                 saved_.at("format").get<std::string>());
      fmt::print("  {:.2f} bits a weight with scales, file {}\n", saved_.at("bits_a_value").get<double>(),
                 format_bytes(saved_.at("bytes").get<int64_t>()));
      fmt::print("  error of the weights {:.3e} of their squares", saved_.at("weight_error").get<double>());
      if (!saved_.at("output_error").is_null())
        fmt::print(", of the layers' outputs {:.3e} on calibration text", saved_.at("output_error").get<double>());
      fmt::print("\n");
    }
  }

  const Options& options_;
  const Session& session_;
  const InterruptGuard interrupt_;
  Progress progress_{"quantize", session_.quiet};
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<SpikeTemplates> templates_;
  std::vector<Run> runs_;
  std::optional<TokenBatch> windows_;
  TokenBatch calibration_;
  std::optional<LossComparison> comparison_;
  size_t done_ = 0;
  Json rows_ = Json::array(), saved_;
};

int quantize(Options& options, const Session& session) {
  set_threads(session.threads);
  if (!options.recipe_file.empty()) {
    options.recipe = recipe_from_json(read_json_file(options.recipe_file), options.recipe_file.string());
    if (options.recipe.activations.quantizes()) options.methods = {options.recipe.activations.method};
    options.bits_activation = {options.recipe.activations.bits};
    if (options.recipe.weights.quantizes()) options.bits_weight = {options.recipe.weights.bits};
  }
  return Quantization(options, session).run();
}

template <class Rows>
std::string table_text(const Rows& rows) {
  std::string text;
  for (const auto& row : rows) text += fmt::format("  {:<24}{}\n", row.name, row.meaning);
  return text;
}

void add_windows(CLI::App& command, const std::string& name, PromptRequest& request, const std::string& what) {
  const std::string prefix = name == "text" ? "" : name + "-";
  command.add_option("--" + name, request.text_file, what + ", cut into windows")
      ->group(name == "text" ? "Evaluation" : "Weights");
  command.add_option("--" + prefix + "windows", request.windows, "Windows to cut from its beginning")
      ->capture_default_str()
      ->group(name == "text" ? "Evaluation" : "Weights");
  command.add_option("--" + prefix + "length", request.length, "Tokens a window, a BOS included")
      ->capture_default_str()
      ->group(name == "text" ? "Evaluation" : "Weights");
}

void add_activation_options(CLI::App& command, Options& options) {
  ActivationRecipe& recipe = options.recipe.activations;
  const std::string group = "Activations";
  command.add_option("--templates", options.templates, "File of 'spikescope templates', of the same model")
      ->group(group);
  command.add_option("--method", options.methods, "What to try (repeatable), of the methods below")->group(group);
  command
      .add_option("--bits-activation", options.bits_activation,
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
  WeightChoice& weights = options.recipe.weights;
  const std::string group = "Weights";
  command.add_option("--bits-weight", options.bits_weight, "Bits of a weight; several: all of them; none: as they are")
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
  add_windows(command, "calibration", options.calibration, "GPTQ: calibration text");
}

}  // namespace

void add_quantize(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("quantize", "Quantize activations and weights, see what becomes of the loss, save the model");
  command->footer(fmt::format(
      R"(Activations: what the matrices of each block read (attn_in, o_in, mlp_in, down_in) is rounded, in simulation, to a grid of
a few bits, with scales and templates from 'spikescope templates'. Weights: the linear layers of the blocks, by RTN or
GPTQ. With --text, losses on its windows are compared with those of the model as it is. --save writes the model as a
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
    --bits-activation 8 6 4 --bits-weight 4
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --method insertquant \
    --override down_in:1,2,9,10=dynamic --override o_in=none
  spikescope quantize --model smollm2-135m --bits-weight 4 --weights gptq --calibration wiki.valid.txt --save w4)",
      table_text(activation_methods()), table_text(clip_kinds())));
  auto options = std::make_shared<Options>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_flag("--compare", options->compare, "Try all methods, with weights as they are and with --bits-weight");
  command->add_option("--recipe", options->recipe_file,
                      fmt::format("Do what this file says ({} of a saved model)", kRecipeFile));
  command->add_option("--save", options->save, "Folder for the quantized model, which must not exist or be empty");
  command->add_option("--tokenizer", options->tokenizer, "Folder whose tokenizer files go along, for GGUF files");
  command->add_option("--out", options->out, "File for the result, JSON");
  add_windows(*command, "text", options->text, "Text to predict");
  add_activation_options(*command, *options);
  add_weight_options(*command, *options);
  add_bos_option(*command, options->bos);
  add_dtype_option(*command, options->dtype);
  command->callback(
      [options, &session] { session.action = [options, &session] { return quantize(*options, session); }; });
}

}  // namespace spikescope
