#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>

#include "analyses/labels.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/version.h"
#include "capture/corpus.h"
#include "cli/command.h"
#include "io/sha256.h"
#include "model/gemm.h"
#include "quant/calibrate.h"
#include "quant/prefix.h"
#include "quant/template_file.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, bos = "auto";
  fs::path out;
  PromptRequest prompts;
  CalibrationSettings settings = {.rotation = RotationKind::hadamard};
  std::string prefix = "auto";
  Dtype dtype = Dtype::float32;
};

std::string blocks_text(const std::vector<int>& blocks) {
  return blocks.empty() ? "none" : fmt::format("{}", fmt::join(blocks, ", "));
}

void print_set(const TemplateSet& set, int64_t d, int64_t kv_heads) {
  const SpikeCourse& course = set.course;
  fmt::print("spikes born in block {}, dimension{} {}, height {}: {} tokens\n", course.birth,
             course.dims.size() == 1 ? "" : "s", fmt::join(course.dims, ", "), number(course.height),
             format_count(set.tokens));
  fmt::print("  threshold on largest |down_in|  {} (median {}; spikes from {} on, other tokens up to {})\n",
             number(course.threshold), number(set.evidence.median), number(set.evidence.least_above),
             number(set.evidence.largest_below));
  fmt::print("  cancelled in blocks             {}\n", blocks_text(course.cancelling));
  if (!set.attn_in.empty())
    fmt::print("  templates                       blocks {} to {}, attn_in{} of {}, deviation {}\n", course.birth + 1,
               course.last, set.mlp_in.empty() ? "" : " and mlp_in", d, number(set.deviation));
  if (!set.attn_k.empty())
    fmt::print("  attention bias                  blocks {} to {}, k' and v' of {} heads\n", course.birth + 1,
               course.last, kv_heads);
  fmt::print("  at the end                      {}\n", set.final_out.empty()
                                                           ? fmt::format("R added after block {}", course.last)
                                                           : "F as the final norm's output");
}

/// Text on one line: what is not printable as JSON spells it.
std::string quoted(const std::string& text) { return json_text(Json(text), -1); }

void print_prefix(const SpikePrefix& prefix) {
  if (prefix.ids.empty()) return;
  fmt::print("prefix {} (id{} {}): behind it {} tokens of the text have spikes\n", quoted(prefix.text),
             prefix.ids.size() == 1 ? "" : "s", fmt::join(prefix.ids, ", "), format_count(prefix.spikes));
}

void print_templates(const SpikeTemplates& templates) {
  const CalibrationInfo& info = templates.info;
  fmt::print("{} ({}), calibrated on {}: {} windows of {} tokens, BOS {}\n", info.model_name, info.family, info.text,
             info.windows, info.length, info.bos);
  if (const std::string why = why_not_applicable(templates); !why.empty()) fmt::print("not applicable: {}\n", why);
  for (const TemplateSet& set : templates.sets) print_set(set, templates.d_model, templates.kv_heads);
  print_prefix(templates.prefix);
  fmt::print("\n{:<7}{:<9}{:>12}{:>12}{:>9}{:>11}{:>10}{:>10}{:>10}\n", "block", "site", "largest", "ordinary", "ratio",
             "99.99 %", "mse 8", "mse 6", "mse 4");
  for (int layer = 0; layer < templates.n_layers; ++layer)
    for (const SiteKind& kind : site_kinds()) {
      const SiteRange& all = templates.range(Population::all, kind.site, layer);
      const SiteRange& ordinary = templates.range(Population::ordinary, kind.site, layer);
      if (std::isnan(all[RangeKey::absmax])) continue;
      fmt::print("{:<7}{:<9}{:>12}{:>12}{:>9}{:>11}{:>10}{:>10}{:>10}\n", layer, kind.name,
                 number(all[RangeKey::absmax]), number(ordinary[RangeKey::absmax]), number(ordinary[RangeKey::ratio]),
                 number(ordinary[RangeKey::percentile]), number(ordinary[RangeKey::mse8]),
                 number(ordinary[RangeKey::mse6]), number(ordinary[RangeKey::mse4]));
    }
}

void show(const SpikeTemplates& templates, const fs::path& path, const Session& session) {
  if (!session.json) return print_templates(templates);
  Json json = to_json(templates);
  json["ranges"] = ranges_json(templates);
  json["file"] = path.string();
  fmt::print("{}\n", json_text(json));
}

int make_templates(Options& options, const Session& session) {
  if (options.model.empty()) fail_usage("templates: say --model (or: spikescope templates show FILE)");
  if (!options.prompts.text_file) fail_usage("templates: say --text FILE, the text to calibrate with");
  if (options.out.empty()) fail_usage("templates: say --out FILE.safetensors (or .h5)");
  options.settings.prefix = parse_prefix(options.prefix);
  set_threads(session.threads);
  const fs::path path = resolve_model(options.model);
  if (!Checkpoint::towers(path).empty())
    fail_usage("templates are made for models that predict the next token, which one of texts and images does not");
  const auto checkpoint = Checkpoint::open(path, options.as);
  require_sites(checkpoint->architecture());
  const Tokenizer tokenizer = checkpoint->tokenizer();
  options.prompts.bos = parse_bos(options.bos);
  const DumpTokens tokens = read_prompts(options.prompts, &tokenizer);
  prepare_products(options.dtype, checkpoint->architecture(), session);

  CalibrationInfo info;
  info.model = checkpoint->path().string();
  info.model_name = model_name(options.model);
  info.model_sha256 = checkpoint->sha256();
  info.family = checkpoint->architecture().family;
  info.text = options.prompts.text_file->filename().string();
  info.text_sha256 = sha256_file(*options.prompts.text_file);
  info.windows = options.prompts.windows;
  info.length = options.prompts.length;
  info.bos = bos_description(options.prompts, &tokenizer);
  info.dtype = dtype_name(options.dtype);
  info.command = session.command_line;
  info.version = version();
  const InterruptGuard interrupt;
  Progress progress("templates", session.quiet);
  SpikeTemplates templates = calibrate(checkpoint->weights(), {tokens.ids, tokens.offsets}, info, options.settings,
                                       [&](double fraction, const std::string& part) {
                                         interrupt.check();
                                         progress.update(fraction, part);
                                       });
  progress.done();
  templates.prefix.text = tokenizer.decode(templates.prefix.ids);
  write_templates(templates, options.out);
  show(templates, options.out, session);
  if (!session.json) fmt::print("{}\n", options.out.string());
  return 0;
}

}  // namespace

void add_templates(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("templates", "Calibrate what quantizers need: template vectors of spikes, and ranges");
  command->footer(
      R"(Two passes over a text find the blocks where spikes are born and cancelled, the vectors that spike tokens have
after the norms in between (templates), and the ranges of what the matrices of each block read, with and without spike
tokens. Quantizers put the templates in the spikes' place (InsertQuant, arXiv 2606.02288): 'spikescope quantize' does.
One more takes the ranges of balanced values (but for --rotation none), and where there are spikes another those that
are left behind a prefix on which they settle (--prefix).
A model in which no token's spike stands apart gets a file of ranges alone, and the figures that say so.

Examples:
  spikescope templates --model smollm2-135m --text wiki.valid.txt --windows 32 --length 512 --out smol.safetensors
  spikescope templates show smol.safetensors

The file is safetensors, or HDF5 where its name ends in .h5; docs/template-format.md describes both.)");
  auto options = std::make_shared<Options>();
  options->prompts.windows = 32;
  options->prompts.length = 512;
  command->add_option("--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder");
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_option("--text", options->prompts.text_file, "Text to calibrate with");
  command->add_option("--windows", options->prompts.windows, "Windows to cut from its beginning")
      ->capture_default_str();
  command->add_option("--length", options->prompts.length, "Tokens a window, a BOS included")->capture_default_str();
  add_bos_option(*command, options->bos);
  command->add_option("--out", options->out, "File to write: .safetensors or .h5");
  command
      ->add_option("--eta", options->settings.eta,
                   "A spike is born where a token's largest |down_in| is so many times the median over tokens")
      ->capture_default_str();
  std::map<std::string, RotationKind> rotations;
  for (const RotationName& row : rotation_names()) rotations.emplace(row.name, row.kind);
  command
      ->add_option("--rotation", options->settings.rotation,
                   "Ranges of rotated values as well, for the methods that rotate: hadamard, random, or none")
      ->transform(CLI::CheckedTransformer(rotations))
      ->option_text("none|hadamard|random [hadamard]");
  command
      ->add_option(
          "--prefix", options->prefix,
          "Ranges behind a prefix as well, for the methods that put one in front of every text: ids with commas "
          "between them, none, or auto, which chooses among the spike tokens of the text")
      ->option_text("auto|none|IDS [auto]");
  command->add_option("--seed", options->settings.seed, "Of the rotations")->capture_default_str();
  add_dtype_option(*command, options->dtype);
  auto file = std::make_shared<fs::path>();
  CLI::App* shown = command->add_subcommand("show", "Print a template file");
  shown->add_option("file", *file, "Template file")->required();
  shown->callback([file, &session] {
    session.action = [file, &session] {
      show(read_templates(*file), *file, session);
      return 0;
    };
  });
  command->callback([options, shown, &session] {
    if (!shown->parsed()) session.action = [options, &session] { return make_templates(*options, session); };
  });
}

}  // namespace spikescope
