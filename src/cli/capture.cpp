#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/profile.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/version.h"
#include "capture/images.h"
#include "capture/towers.h"
#include "cli/command.h"
#include "io/output_file.h"
#include "model/gemm.h"
#include "model/product.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// Most memory in use so far. getrusage() would count what the process that started this one had.
int64_t peak_rss_mib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmHWM:")) return std::atoll(line.c_str() + std::strlen("VmHWM:")) / 1024;
  return 0;
}

void warn_of_slow_blas(const Session& session) {
  if (product_kernel() == "BLAS" && !blas().fast)
    note(session,
         "warning: LibTorch uses a reference BLAS, which is about a hundred times slower; install libopenblas0-openmp");
}

/// Seconds are of wall-clock time: those of all threads, over the number of threads.
void print_profile(std::vector<ProfilePart> parts, double seconds) {
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  fmt::print(stderr, "{:<18} {:>9} {:>7} {:>9} {:>9}\n", "part", "seconds", "share", "spans", "GFLOP/s");
  for (const ProfilePart& part : parts) {
    const double own = part.seconds / threads();
    fmt::print(stderr, "{:<18} {:>9.3f} {:>6.1f}% {:>9} {:>9}\n", part.part, own, 100.0 * own / seconds,
               format_count(part.spans), part.flops > 0 ? fmt::format("{:.0f}", part.flops / own * 1e-9) : "");
  }
  fmt::print(stderr, "{:<18} {:>9.3f}\n", "whole run", seconds);
}

constexpr const char* kExamples = R"(Examples:
  spikescope capture --model smollm2-135m --out runs/a --prompt "Summer is warm." --points 'blocks.*.resid_post' --sinks
  spikescope capture --model model.gguf --out runs/b --text wiki.txt --windows 4 --length 512 --points '*.attn.rot_k'
  spikescope capture --model DIR --out runs/c --ids ids.json --points '*' --storage float16 --gzip 4

The dump is OUT/dump/index.h5: open it with h5py. An earlier one is replaced when the new one is complete.)";

}  // namespace

void add_dtype_option(CLI::App& command, Dtype& dtype) {
  command
      .add_option("--dtype", dtype,
                  "Precision of products: float32, or bfloat16 (faster where the processor has it; the residual "
                  "stream, norms,\n"
                  "softmax and statistics stay float32)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Dtype>{{"float32", Dtype::float32},
                                                                       {"f32", Dtype::float32},
                                                                       {"bfloat16", Dtype::bfloat16},
                                                                       {"bf16", Dtype::bfloat16}}))
      ->option_text("float32|bf16 [float32]");
}

CLI::Option* add_bos_option(CLI::App& command, std::string& bos) {
  return command.add_option("--bos", bos, "Begin each text with BOS: auto (as the tokenizer does), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
}

void add_pass_options(CLI::App& command, CaptureOptions& options) {
  PromptRequest& prompts = options.prompts;
  command.add_option("--as", options.as,
                     "Read the checkpoint as this family (docs/families.md), whatever it calls itself");
  command.add_option("--prompt", prompts.texts, "A prompt (repeatable)")->allow_extra_args(false)->group("Prompts");
  command.add_option("--prompts", prompts.prompts_file, "File with a prompt a line; .jsonl: field 'text'")
      ->group("Prompts");
  command.add_option("--ids", prompts.ids_file, "JSON file, an array of arrays of token ids, fed as they are")
      ->group("Prompts");
  command
      .add_option("--pixels", options.pixels,
                  "Images: safetensors with pixel_values [images, channels, S, S], normalised as the model wants them")
      ->group("Prompts");
  command.add_option("--text", prompts.text_file, "Text file to cut into windows")->group("Prompts");
  command.add_option("--windows", prompts.windows, "Windows to cut from --text")
      ->capture_default_str()
      ->group("Prompts");
  command.add_option("--length", prompts.length, "Tokens a window, a BOS included")
      ->capture_default_str()
      ->group("Prompts");
  add_bos_option(command, options.bos)->group("Prompts");
  command.add_option("--storage", options.request.storage.storage, "Precision of the dump: float32 or float16")
      ->check(CLI::IsMember({"float32", "float16"}))
      ->capture_default_str()
      ->group("Dump");
  command
      .add_option("--gzip", options.request.storage.gzip,
                  "Compress the dump, 1 (fast) to 9 (small), with shuffle; 0: not")
      ->check(CLI::Range(0, 9))
      ->capture_default_str()
      ->group("Dump");
  add_dtype_option(command, options.dtype);
  command.add_flag("--losses", options.request.losses, "Also compute next-token losses (/losses/nll)")->group("Dump");
}

void add_sample_options(CLI::App& command, CaptureOptions& options) {
  command
      .add_option("--random-first", options.random_first,
                  "Also run so many random tokens, each as the first of a prompt of its own: whether first tokens\n"
                  "converge whatever they are")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Prompts");
  add_seed_option(command, options.seed);
}

void add_capture_options(CLI::App& command, CaptureOptions& options) {
  command.add_option("--model", options.model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command.add_option("--out", options.out, "Folder for the results")->required();
  add_pass_options(command, options);
  add_sample_options(command, options);
  command.add_flag("--resume", options.request.storage.resume,
                   "Go on from what a stopped or killed run has left in OUT; the other options have to be the same");
  command.add_flag("--profile", options.profile,
                   "Say where the time went, and write OUT/profile.json, a trace that ui.perfetto.dev opens");
}

bool has_texts(const PromptRequest& prompts) {
  return !prompts.texts.empty() || prompts.prompts_file || prompts.ids_file || prompts.text_file;
}

namespace {

/// Texts or images, as the model reads them. Ids need no tokenizer; without one their strings stay empty.
DumpTokens read_inputs(const Checkpoint& checkpoint, CaptureOptions& options, std::optional<Tokenizer>& tokenizer) {
  const PromptRequest& prompts = options.prompts;
  const Architecture& a = checkpoint.architecture();
  if (a.patches) {
    if (has_texts(prompts) && !options.any_inputs)
      fail_usage("{} models read images: give them --pixels, and no text", a.family);
    if (!options.pixels) fail_usage("{} models read images: give them --pixels FILE.safetensors", a.family);
    options.request.pixels = read_pixels(*options.pixels);
    return image_prompts(a.patches, options.request.pixels, options.pixels->filename().string());
  }
  if (options.pixels && !options.any_inputs) fail_usage("--pixels: {} models read text", a.family);
  const bool only_ids = prompts.ids_file && prompts.texts.empty() && !prompts.prompts_file && !prompts.text_file;
  try {
    tokenizer = checkpoint.tokenizer();
  } catch (const Error&) {
    if (!only_ids) throw;
  }
  return read_prompts(prompts, tokenizer ? &*tokenizer : nullptr);
}

}  // namespace

std::vector<CaptureOptions> of_each_tower(const CaptureOptions& options) {
  const std::vector<std::string> towers = Checkpoint::towers(resolve_model(options.model));
  if (towers.empty()) return {options};
  check_joined_dump(options.out);
  const bool texts = has_texts(options.prompts), both = texts && options.pixels;
  std::vector<CaptureOptions> runs;
  for (const std::string& tower : towers) {
    const bool images = tower == "vision";
    if (images ? !options.pixels : options.pixels && !texts) continue;
    CaptureOptions run = options;
    run.tower = tower;
    run.out = options.out / tower;
    run.request.points = points_of_tower(options.request.points, tower);
    if (both) run.request.points.emplace_back("embeds");
    if (images) {
      run.prompts = {};
      run.random_first = 0;
    } else {
      run.pixels.reset();
    }
    runs.push_back(std::move(run));
  }
  return runs;
}

void join_captures(const CaptureOptions& options, const std::vector<CaptureOptions>& towers) {
  if (towers.front().tower.empty()) return;
  std::vector<std::string> names;
  std::unique_ptr<Checkpoint> text;
  for (const CaptureOptions& run : towers) names.push_back(run.tower);
  if (names.size() > 1) text = Checkpoint::open(resolve_model(options.model), options.as, "text");
  join_towers(options.out, names, text.get());
}

PreparedCapture prepare_capture(CaptureOptions& options, const Session& session) {
  PreparedCapture prepared;
  prepared.checkpoint = Checkpoint::open(resolve_model(options.model), options.as, options.tower);
  options.prompts.bos = parse_bos(options.bos);
  std::optional<Tokenizer> tokenizer;
  prepared.tokens = read_inputs(*prepared.checkpoint, options, tokenizer);
  if (options.random_first > 0) {
    const Architecture& a = prepared.checkpoint->architecture();
    const bool sees_behind = a.patches || !a.causal;
    if (sees_behind && !options.any_inputs)
      fail_usage("--random-first: in {} models a first token sees those behind it; leave it out", a.family);
    const int64_t vocabulary = tokenizer ? std::min(tokenizer->size(), a.vocabulary) : a.vocabulary;
    if (!sees_behind)
      add_random_first(prepared.tokens, options.random_first, vocabulary, options.seed,
                       tokenizer ? &*tokenizer : nullptr);
  }
  prepared.info.model = prepared.checkpoint->path().string();
  prepared.info.model_name = model_name(options.model);
  prepared.info.command = session.command_line;
  prepared.info.version = version();
  prepared.info.dtype = dtype_name(options.dtype);
  prepared.info.storage = options.request.storage.storage;
  prepared.info.bos = bos_description(options.prompts, tokenizer ? &*tokenizer : nullptr);
  return prepared;
}

void prepare_products(Dtype dtype, const Architecture& a, const Session& session) {
  choose_products(dtype);
  warn_of_slow_blas(session);
  check_products({{a.d_model, a.z_size(), a.mlp_width, a.head_dim}});
}

CaptureSummary run_capture(CaptureOptions& options, const Session& session) {
  set_threads(session.threads);
  const PreparedCapture prepared = prepare_capture(options, session);
  const auto& [checkpoint, tokens, info] = prepared;
  prepare_products(options.dtype, checkpoint->architecture(), session);

  note(session,
       fmt::format("{}: {} layers, width {}, {} tokens in {} prompt{}, BOS {}", info.model_name,
                   checkpoint->architecture().n_layers, checkpoint->architecture().d_model, format_count(tokens.size()),
                   tokens.n_prompts(), tokens.n_prompts() == 1 ? "" : "s", info.bos));

  const InterruptGuard interrupt;  // ends the program as the signal asks, once the state is safe
  options.request.stop = [&] { return interrupt.interrupted(); };
  if (options.profile) start_profile();
  Progress progress("capture", session.quiet);
  const auto began = std::chrono::steady_clock::now();
  const CaptureSummary summary = capture(*checkpoint, tokens, info, options.request, options.out, [&](double fraction) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    progress.update(fraction,
                    fmt::format("{} tokens/s", format_count(std::lround(fraction * static_cast<double>(tokens.size()) /
                                                                        std::max(seconds, 1e-3)))));
  });
  progress.done();
  if (summary.resumed_layer > 0) note(session, fmt::format("resumed from layer {}", summary.resumed_layer));
  if (summary.stopped_layer > 0)
    note(session, fmt::format("stopped before layer {}; {}", summary.stopped_layer, options.to_resume));
  if (options.profile) {
    print_profile(stop_profile(), summary.seconds);
    write_file(options.out / "profile.json", profile_trace());
  }
  return summary;
}

Json to_json(const CaptureSummary& summary) {
  Json json = {
      {"tokens", summary.tokens},
      {"prompts", summary.prompts},
      {"points", summary.points},
      {"dump_bytes", summary.dump_bytes},
      {"seconds", summary.seconds},
      {"weight_seconds", summary.weight_seconds},
      {"weight_bytes", summary.weight_bytes},
      {"tokens_per_second", static_cast<double>(summary.tokens) / summary.seconds},
      {"peak_rss_mib", peak_rss_mib()},
      {"threads", threads()},
      {"dtype", dtype_name(product_dtype())},
      {"products", product_kernel() == "BLAS" ? blas().name : product_kernel()},
  };
  if (std::isfinite(summary.mean_loss)) json["mean_loss"] = summary.mean_loss;
  return json;
}

Json by_tower(const std::vector<CaptureOptions>& runs, const Json& results) {
  if (runs.front().tower.empty()) return results[0];
  Json json = Json::object();
  for (size_t i = 0; i < runs.size(); ++i) json[runs[i].tower] = results[i];
  return json;
}

void add_capture(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("capture", "Run prompts through a checkpoint and dump hook points to HDF5");
  command->footer(kExamples);
  auto options = std::make_shared<CaptureOptions>();
  add_capture_options(*command, *options);
  command
      ->add_option("--points", options->request.points,
                   "Hook points by name or glob (repeatable); '*' is all (default: blocks.*.resid_post)")
      ->group("Dump");
  command->add_flag("--sinks", options->request.sinks, "Add attention-sink statistics of every block")->group("Dump");
  command->add_flag("--writers", options->request.writers, "Add what each block writes at spike tokens")->group("Dump");
  command->callback([options, &session] {
    session.action = [options, &session] {
      if (options->request.points.empty()) options->request.points = {"blocks.*.resid_post"};
      std::vector<CaptureOptions> runs = of_each_tower(*options);
      Json results = Json::array();
      for (CaptureOptions& run : runs) {
        const CaptureSummary summary = run_capture(run, session);
        const fs::path index = run.out / "dump" / "index.h5";
        results.push_back(to_json(summary));
        results.back()["dump"] = index.string();
        if (!session.json)
          fmt::print("{} points of {} tokens ({}) in {:.1f} s, {} tokens/s: {}\n", summary.points.size(),
                     format_count(summary.tokens), format_bytes(summary.dump_bytes), summary.seconds,
                     format_count(std::lround(static_cast<double>(summary.tokens) / summary.seconds)), index.string());
      }
      join_captures(*options, runs);
      if (session.json) fmt::print("{}\n", json_text(by_tower(runs, results)));
      return 0;
    };
  });
}

}  // namespace spikescope
