#include <fmt/format.h>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/command.h"
#include "model/runner.h"
#include "quant/quantize_weights.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, as, method = "rtn", scales = "f32", clip = "absmax", bos = "auto";
  fs::path save;
  std::string group = "64";
  int bits = 4;
  bool symmetric = false, asymmetric = false;
  GptqOptions gptq;
  PromptRequest calibration;
  WeightRecipe recipe;
  Dtype dtype = Dtype::float32;

  Options() {
    calibration.windows = 32;
    calibration.length = 512;
  }
};

constexpr const char* kExamples =
    R"(The model is written as a Hugging Face folder in the layout of compressed-tensors, which transformers and vLLM load; so does
every command of this program, with --model DIR. Linear layers of the blocks are quantized; embeddings, norms and head are
kept (those of GGUF files as bfloat16).

Examples:
  spikescope quantize smollm2-135m --bits-weight 4 --group 64 --save w4
  spikescope quantize DIR --weights gptq --text calibration.txt --act-order --save w4-gptq
  spikescope quantize DIR --bits-weight 8 --group channel --clip mse --save w8)";

/// "tensor", "channel", or a number of columns.
void set_group(const std::string& text, WeightFormat& format) {
  using Scope = WeightFormat::Scope;
  if (const auto scope = find_scope(text); scope && *scope != Scope::group) {
    format.scope = *scope;
    return;
  }
  format.scope = Scope::group;
  format.group = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || format.group > (int64_t{1} << 24))
      fail_usage("--group {}: expected a number of columns, channel or tensor", text);
    format.group = 10 * format.group + (c - '0');
  }
  if (format.group < 1) fail_usage("--group {}: expected a number of columns, channel or tensor", text);
}

WeightRecipe recipe_of(const Options& options) {
  WeightRecipe recipe = options.recipe;
  WeightFormat& format = recipe.rounding.format;
  format.bits = options.bits;
  format.symmetric = !options.asymmetric;
  set_group(options.group, format);
  recipe.rounding.clip = options.clip == "mse" ? Clip::mse : Clip::absmax;
  recipe.rounding.scale_type = options.scales == "f32" ? "F32" : options.scales == "f16" ? "F16" : "BF16";
  if (options.method == "gptq") recipe.gptq = options.gptq;
  return recipe;
}

TokenBatch calibration_tokens(const Checkpoint& checkpoint, const Options& options, const Session& session) {
  if (options.method != "gptq") return {};
  if (!has_texts(options.calibration)) fail_usage("--weights gptq needs calibration text: --text FILE or --ids FILE");
  std::optional<Tokenizer> tokenizer;
  if (options.calibration.text_file) tokenizer = checkpoint.tokenizer();
  PromptRequest request = options.calibration;
  request.bos = options.bos == "always" ? Bos::always : options.bos == "never" ? Bos::never : Bos::automatic;
  DumpTokens tokens = read_prompts(request, tokenizer ? &*tokenizer : nullptr);
  note(session, fmt::format("calibration: {} windows, {} tokens", tokens.n_prompts(), format_count(tokens.size())));
  TokenBatch batch{std::move(tokens.ids), std::move(tokens.offsets)};
  check_prompts(batch, checkpoint.architecture());
  return batch;
}

int run_quantize(const Options& options, const Session& session) {
  const fs::path path = resolve_model(options.model);
  if (!Checkpoint::towers(path).empty()) fail_usage("a model with two towers cannot be saved quantized");
  const auto checkpoint = Checkpoint::open(path, options.as);
  set_threads(session.threads);
  prepare_products(options.dtype, checkpoint->architecture(), session);
  const WeightRecipe recipe = recipe_of(options);
  const TokenBatch calibration = calibration_tokens(*checkpoint, options, session);
  const InterruptGuard interrupt;
  Progress progress("quantize", session.quiet);
  const WeightSummary summary =
      quantize_weights(*checkpoint, recipe, calibration, options.save, [&](double fraction, const std::string& part) {
        interrupt.check();
        progress.update(fraction, part);
      });
  progress.done();
  if (!summary.has_tokenizer)
    note(session,
         "no tokenizer.json was written: this file's tokenizer has no such form here; give --tokenizer FOLDER "
         "of the model's Hugging Face folder");
  const std::string format = recipe.rounding.format.text();
  if (session.json) {
    Json json = {{"model", model_name(options.model)},
                 {"saved", options.save.string()},
                 {"weights", options.method},
                 {"format", format},
                 {"matrices", summary.matrices},
                 {"values", summary.values},
                 {"bits_a_value", summary.bits_a_value},
                 {"bytes", summary.bytes},
                 {"weight_error", summary.weight_error}};
    if (recipe.gptq) json["output_error"] = summary.output_error;
    fmt::print("{}\n", json_text(json));
    return 0;
  }
  fmt::print("{}: {} matrices by {}, {}\n", options.save.string(), summary.matrices, options.method, format);
  fmt::print("  {:.2f} bits a weight with scales, file {}\n", summary.bits_a_value, format_bytes(summary.bytes));
  fmt::print("  error of the weights {:.3e} of their squares", summary.weight_error);
  if (recipe.gptq) fmt::print(", of the layers' outputs {:.3e} on calibration text", summary.output_error);
  fmt::print("\n");
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("quantize", "Quantize a model's weights and save it as a Hugging Face folder");
  command->footer(kExamples);
  auto options = std::make_shared<Options>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_option("--save", options->save, "Folder to write, which must not exist or be empty")->required();
  command->add_option("--tokenizer", options->recipe.tokenizer,
                      "Folder whose tokenizer files go along, for GGUF files");
  command->add_option("--bits-weight", options->bits, "Bits of a weight")
      ->check(CLI::Range(2, 8))
      ->capture_default_str()
      ->group("Weights");
  command->add_option("--group", options->group, "Columns of a row that share a scale, or: channel, tensor")
      ->capture_default_str()
      ->group("Weights");
  command
      ->add_option("--weights", options->method, "rtn: each to the nearest; gptq: with regard to what the layers read")
      ->check(CLI::IsMember({"rtn", "gptq"}))
      ->capture_default_str()
      ->group("Weights");
  auto* asymmetric = command->add_flag("--asymmetric", options->asymmetric, "With zero points")->group("Weights");
  command->add_flag("--symmetric", options->symmetric, "Without zero points (the default)")
      ->excludes(asymmetric)
      ->group("Weights");
  command->add_option("--clip", options->clip, "Ranges: absmax clips nothing; mse where the squared error is least")
      ->check(CLI::IsMember({"absmax", "mse"}))
      ->capture_default_str()
      ->group("Weights");
  command->add_option("--scales", options->scales, "Type of the scales")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str()
      ->group("Weights");
  command->add_option("--damping", options->gptq.damping, "Of GPTQ, over the mean of its Hessian's diagonal")
      ->check(CLI::Range(1e-6, 10.0))
      ->capture_default_str()
      ->group("GPTQ");
  command->add_flag("--act-order", options->gptq.act_order, "Largest inputs first")->group("GPTQ");
  command->add_option("--text", options->calibration.text_file, "Calibration text, cut into windows")->group("GPTQ");
  command->add_option("--ids", options->calibration.ids_file, "Calibration token ids: JSON, an array of arrays")
      ->group("GPTQ");
  command->add_option("--windows", options->calibration.windows, "Windows to cut from --text")
      ->capture_default_str()
      ->group("GPTQ");
  command->add_option("--length", options->calibration.length, "Tokens a window, a BOS included")
      ->capture_default_str()
      ->group("GPTQ");
  command->add_option("--bos", options->bos, "Begin each window with BOS: auto (as the tokenizer does), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str()
      ->group("GPTQ");
  add_dtype_option(*command, options->dtype);
  command->callback(
      [options, &session] { session.action = [options, &session] { return run_quantize(*options, session); }; });
}

}  // namespace spikescope
