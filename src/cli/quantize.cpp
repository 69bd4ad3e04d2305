#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "analyses/labels.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/command.h"
#include "model/gemm.h"
#include "quant/activation_losses.h"
#include "quant/template_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, bos = "auto";
  fs::path templates;
  PromptRequest prompts;
  std::vector<std::string> methods, overrides;
  std::vector<int> bits;
  bool compare = false, asymmetric = false, exact_templates = false, end_with_residual = false;
  Dtype dtype = Dtype::float32;
};

/// A row of the table to be made.
struct Run {
  const ActivationMethod* method;
  int bits;
  bool operator==(const Run&) const = default;
};

std::vector<Run> runs_of(const Options& options, const Templates& templates) {
  std::vector<std::string> names = options.methods;
  if (options.compare)
    for (const ActivationMethod& method : activation_methods())
      if (method.spikes == Spikes::kept || !templates.sets.empty()) names.emplace_back(method.name);
  if (names.empty()) fail_usage("quantize: say --method NAME, or --compare for all methods");
  std::vector<Run> runs;
  for (const std::string& name : names)
    for (const int bits : options.bits) {
      const ActivationMethod& method = find_activation_method(name);
      const bool quantizes = method.clip != Clip::none;
      const Run run{&method, quantizes ? bits : 0};
      if (std::find(runs.begin(), runs.end(), run) == runs.end()) runs.push_back(run);
    }
  return runs;
}

ActivationPlan plan_of(const Run& run, const Options& options, const Templates& templates) {
  std::vector<SiteOverride> overrides;
  for (const std::string& text : options.overrides)
    overrides.push_back(parse_override(text, run.bits > 0 ? run.bits : options.bits.front(), templates.n_layers));
  ActivationPlan plan = plan_of(*run.method, run.bits, templates, overrides);
  plan.asymmetric = options.asymmetric;
  plan.quantize_templates = !options.exact_templates;
  plan.end_with_residual = options.end_with_residual;
  return plan;
}

void print_header() {
  fmt::print("{:<24}{:>5}{:>14}{:>12}{:>19}{:>12}{:>12}\n", "method", "bits", "perplexity", "nll", "dnll (se)",
             "largest |h|", "new spikes");
}

void print_row(const Json& row) {
  fmt::print("{:<24}{:>5}{:>14}{:>12.4f}{:>19}{:>12}{:>12}\n", row.at("method").get<std::string>(),
             row.at("bits_activation").is_null() ? "-" : row.at("bits_activation").dump(),
             fmt::format("{:.3f}", row.at("perplexity").get<double>()), row.at("nll").get<double>(),
             fmt::format("{:+.4f} ({})", row.at("dnll").get<double>(), number(row.at("dnll_se"))),
             number(row.at("largest_h")), format_count(row.at("new_spikes").get<int64_t>()));
}

Json named_row(const std::string& method, int bits, const Json& measured) {
  Json row = {{"method", method}, {"bits_activation", bits > 0 ? Json(bits) : Json(nullptr)}, {"bits_weight", nullptr}};
  row.update(measured);
  return row;
}

int quantize(Options& options, const Session& session) {
  set_threads(session.threads);
  const fs::path path = resolve_model(options.model);
  if (!Checkpoint::towers(path).empty())
    fail_usage("quantization is judged by the loss of the next token, which a model of texts and images has not");
  const auto checkpoint = Checkpoint::open(path, options.as);
  const Architecture& a = checkpoint->architecture();
  require_sites(a);
  const Templates templates = read_templates(options.templates);
  check_templates_of(templates, options.templates, checkpoint->sha256(), a);
  // All plans are made before anything runs, so that what cannot be is said at once.
  const std::vector<Run> runs = runs_of(options, templates);
  std::vector<SimulatedActivations> simulated;
  for (const Run& run : runs) simulated.emplace_back(a, templates, plan_of(run, options, templates));

  const Tokenizer tokenizer = checkpoint->tokenizer();
  options.prompts.bos = parse_bos(options.bos);
  const DumpTokens tokens = read_prompts(options.prompts, &tokenizer);
  prepare_products(options.dtype, a, session);

  const InterruptGuard interrupt;
  Progress progress("quantize", session.quiet);
  const auto at_work = [&](size_t done, std::string name) {
    return [&, done, name = std::move(name)](double fraction) {
      interrupt.check();
      progress.update((static_cast<double>(done) + fraction) / static_cast<double>(runs.size() + 1), name);
    };
  };
  const LossComparison comparison(checkpoint->weights(), {tokens.ids, tokens.offsets}, at_work(0, "fp"));
  Json rows = Json::array();
  const auto keep = [&](Json row) {
    progress.pause();
    if (!session.json) {
      if (rows.empty()) print_header();
      print_row(row);
      std::fflush(stdout);
    }
    rows.push_back(std::move(row));
  };
  keep(named_row("fp", 0, comparison.row(comparison.reference())));
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::string name(runs[i].method->name);
    keep(named_row(name, runs[i].bits, comparison.row(comparison.run(simulated[i], at_work(i + 1, name)))));
  }
  progress.done();
  if (session.json)
    fmt::print("{}\n", json_text({{"model", model_name(options.model)},
                                  {"model_sha256", templates.info.model_sha256},
                                  {"templates", options.templates.string()},
                                  {"text", options.prompts.text_file->filename().string()},
                                  {"windows", options.prompts.windows},
                                  {"length", options.prompts.length},
                                  {"bos", bos_description(options.prompts, &tokenizer)},
                                  {"dtype", dtype_name(options.dtype)},
                                  {"command", session.command_line},
                                  {"rows", rows}}));
  return 0;
}

template <class Rows>
std::string table_text(const Rows& rows) {
  std::string text;
  for (const auto& row : rows) text += fmt::format("  {:<24}{}\n", row.name, row.meaning);
  return text;
}

}  // namespace

void add_quantize(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("quantize", "Quantize activations in simulation, and see what becomes of the loss");
  command->footer(fmt::format(
      R"(What the matrices of each block read (attn_in, o_in, mlp_in, down_in) is rounded to a grid of a few bits, with scales and
templates from 'spikescope templates'. Losses on the windows are compared with those of the model as it is.

Methods:
{}
Clips, for --override SITE[:BLOCKS]=CLIP[:BITS]:
{}
Examples:
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --windows 40 --length 512 \
    --method naive --method insertquant
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --compare --bits-activation 8 6 4
  spikescope quantize --model smollm2-135m --templates smol.safetensors --text wiki.test.txt --method insertquant \
    --override down_in:1,2,9,10=dynamic --override o_in=none)",
      table_text(activation_methods()), table_text(clip_kinds())));
  auto options = std::make_shared<Options>();
  options->bits = {8};
  options->prompts.windows = 40;
  options->prompts.length = 512;
  command->add_option("--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_option("--templates", options->templates, "File of 'spikescope templates', of the same model")->required();
  command->add_option("--method", options->methods, "What to try (repeatable), of the methods below");
  command->add_flag("--compare", options->compare, "Try all methods");
  command->add_option("--bits-activation", options->bits, "Bits of activations; several: all of them, one after the other")
      ->check(CLI::Range(kFewestBits, kMostBits))
      ->capture_default_str();
  command->add_option("--override", options->overrides, "Another clip at some sites (repeatable), as said below")
      ->allow_extra_args(false);
  command->add_flag("--asymmetric", options->asymmetric, "Grids from the lowest to the highest value");
  command->add_flag("--exact-templates", options->exact_templates,
                    "Templates are not rounded, as where what they give is computed beforehand");
  command->add_flag("--end-with-residual", options->end_with_residual,
                    "End with R in the residual stream where F could take the final norm's place");
  command->add_option("--text", options->prompts.text_file, "Text to predict, cut into windows")->required();
  command->add_option("--windows", options->prompts.windows, "Windows to cut from its beginning")->capture_default_str();
  command->add_option("--length", options->prompts.length, "Tokens a window, a BOS included")->capture_default_str();
  add_bos_option(*command, options->bos);
  add_dtype_option(*command, options->dtype);
  command->callback(
      [options, &session] { session.action = [options, &session] { return quantize(*options, session); }; });
}

}  // namespace spikescope
