#include "scan/scan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <optional>

#include "analyses/labels.h"
#include "analyses/run.h"
#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "cli/command.h"
#include "model/gemm.h"
#include "scan/against.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

struct Options {
  std::string model, as, tower;
  std::optional<fs::path> out, against;
  int64_t top = 10;
  ScanRequest request;
  Dtype dtype = Dtype::float32;
};

std::string token_name(const Json& token) {
  const std::string piece = token.at("string");
  return piece.empty() ? fmt::format("id {}", token.at("id").get<int64_t>()) : fmt::format("'{}'", piece);
}

std::string neuron_name(const Json& neuron) {
  const Json& expert = neuron.value("expert", Json(nullptr));
  return fmt::format("block {}{} neuron {}", neuron.at("block").get<int64_t>(),
                     expert.is_null()     ? ""
                     : expert.is_string() ? " shared"
                                          : fmt::format(" expert {}", expert.get<int64_t>()),
                     neuron.at("index").get<int64_t>());
}

void print_candidates(const Json& results) {
  fmt::print("{:<10} {:>5} {:>18} {:>14} {:>9}\n", "dimension", "sign", "expected by chance", "largest write",
             "in block");
  for (const Json& row : results.at("dims"))
    fmt::print("{:<10} {:>5} {:>18} {:>14} {:>9}{}\n", row.at("dim").get<int64_t>(),
               row.at("sign") == 0  ? "?"
               : row.at("sign") > 0 ? "+"
                                    : "-",
               fmt::format("1e{:+.1f}", number_or_nan(row.at("log10_expected"))), number(row.at("bound")),
               row.at("bound_block").get<int64_t>(), row.at("leading").get<bool>() ? "  leading" : "");
  fmt::print("\n{:<36} {:>9} {:>8} {:>14} {:>7} {:>6} {:>8}\n", "neuron", "dimension", "score", "largest write",
             "share", "lean", "effect");
  for (const Json& row : results.at("neurons"))
    fmt::print("{:<36} {:>9} {:>8} {:>14} {:>7.2f} {:>+6.2f} {:>8}\n", neuron_name(row), row.at("dim").get<int64_t>(),
               number(row.at("score")), number(row.at("bound")), row.at("share").get<double>(),
               row.at("lean").get<double>(), row.at("effect").get<std::string>());
  const Json& tokens = results.at("tokens");
  if (!tokens.at("applicable").get<bool>()) {
    fmt::print("\nno tokens: {}\n", tokens.at("why").get<std::string>());
    return;
  }
  for (const auto& [key, words] : {std::pair("inside", "anywhere (attention left out)"),
                                   {"first", "at the first position (attention sees the token alone)"}}) {
    std::vector<std::string> medians;
    for (const Json& row : tokens.at(key).at("medians"))
      medians.push_back(fmt::format("{} in dimension {}", number(row.at("median")), row.at("dim").get<int64_t>()));
    fmt::print("\ntokens {}, after {} block{}; median of the vocabulary: {}\n", words,
               tokens.at("blocks").get<int64_t>(), tokens.at("blocks") == 1 ? "" : "s", fmt::join(medians, ", "));
    for (const Json& row : tokens.at(key).at("tokens"))
      fmt::print("  {:<24} {:>9} {:>10} {:>8}x\n", token_name(row), row.at("dim").get<int64_t>(),
                 number(row.at("value")), number(row.at("times")));
  }
}

std::string ranks_text(const Json& found) {
  std::vector<std::string> ranks;
  for (const Json& row : found) ranks.push_back(row.at("rank").is_null() ? "-" : row.at("rank").dump());
  return ranks.empty() ? "-" : fmt::format("{}", fmt::join(ranks, " "));
}

void print_judgement(const Json& against) {
  fmt::print("\nagainst {} prompts of {}\n{:<32} {:>6} {:>9} {:>12} {:>13}  {}\n", against.at("windows").get<int64_t>(),
             against.at("model").get<std::string>(), "found by passes", "number", "of", "in first n", "in first 2 n",
             "ranks");
  for (const auto& [key, words] : {std::pair("dims", "spike dimensions"),
                                   {"neurons", "neurons that write or cancel"},
                                   {"inside", "tokens inside the text"},
                                   {"first", "first tokens"}}) {
    const Json& row = against.at(key);
    if (row.is_null()) continue;
    const auto share = [&](const char* of) { return row.at(of).is_null() ? "-" : percent(row.at(of).get<double>()); };
    fmt::print("{:<32} {:>6} {:>9} {:>12} {:>13}  {}\n", words, row.at("count").get<int64_t>(),
               row.at("candidates").get<int64_t>(), share("recall_at_n"), share("recall_at_2n"),
               ranks_text(row.at("found")));
  }
  const Json& dims = against.at("dims");
  fmt::print("leading dimensions that are spike dimensions: {} of {}\n", dims.at("leading_right").get<int64_t>(),
             dims.at("leading").get<int64_t>());
  if (const Json& neurons = against.at("neurons"); !neurons.is_null())
    fmt::print("neurons whose direction is right: {} of {}\n", neurons.at("directions_right").get<int64_t>(),
               neurons.at("directions").get<int64_t>());
}

/// spikes.json of a run; where its dump is still there, it has to be of these weights.
Json read_spikes(const fs::path& run, const Checkpoint& checkpoint) {
  const fs::path file = run / "results" / "spikes.json";
  if (!fs::exists(file)) fail("{}: no such file; make it with: spikescope run --out {}", file.string(), run.string());
  if (fs::exists(run / "dump" / "index.h5")) check_weights_of(DumpReader(run).info(), checkpoint);
  return read_json_file(file);
}

int run_scan(const Options& options, const Session& session) {
  const fs::path path = resolve_model(options.model);
  if (options.tower.empty() && !Checkpoint::towers(path).empty())
    fail_usage("the model has two towers: say --tower text or --tower vision");
  const auto checkpoint = Checkpoint::open(path, options.as, options.tower);
  std::optional<Json> spikes;
  if (options.against) spikes = read_spikes(*options.against, *checkpoint);
  set_threads(session.threads);
  prepare_products(options.dtype, checkpoint->architecture(), session);

  ScanRequest request = options.request;
  request.hash = options.out.has_value();
  const InterruptGuard interrupt;
  Progress progress("scan", session.quiet);
  const auto compute = [&](H5File* arrays) {
    const ScanResult result = scan(*checkpoint, request, [&](double fraction, const std::string& part) {
      interrupt.check();
      progress.update(fraction, part);
    });
    Json json = to_json(result, *checkpoint, static_cast<size_t>(options.top));
    if (spikes && result.why_not.empty())
      json["against"] = judge(result, *spikes, (*options.against / "results" / "spikes.json").string());
    if (request.hash) json["model_sha256"] = result.sha256.empty() ? checkpoint->sha256() : result.sha256;
    if (arrays) write_arrays(result, *arrays);
    return json;
  };
  Json results;
  if (options.out)
    make_weight_results(*options.out, "scan", model_name(options.model),
                        [&](H5File& arrays) { return results = compute(&arrays); });
  else
    results = compute(nullptr);
  progress.done();

  const std::string file = options.out ? (*options.out / "results" / "scan.json").string() : "";
  const bool applicable = results.value("applicable", true);
  if (session.json) {
    results["applicable"] = applicable;
    results["model"] = model_name(options.model);
    if (!file.empty()) results["results"] = file;
    fmt::print("{}\n", json_text(results));
    return 0;
  }
  if (applicable) {
    print_candidates(results);
    if (results.contains("against")) print_judgement(results.at("against"));
  } else {
    fmt::print("not applicable: {}\n", results.at("why").get<std::string>());
  }
  if (!file.empty()) fmt::print("{}\n", file);
  return 0;
}

}  // namespace

void add_scan(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("scan", "Find candidates for spikes in the weights alone, without any prompt");
  command->footer(
      R"(For every neuron of every MLP the largest write that its norm lets through is computed from the weights. Dimensions
that the neurons of many blocks point at more than chance would have it are candidates for spikes; 'leading' are those
that a model without special dimensions would have in less than one of twenty cases, with at least half of the best
one's evidence. 'lean' tells which way a neuron can go further, so what it writes and what it cancels. For tokens, the
vocabulary goes through the first blocks, each token by itself: that is the only part that computes with the model.

Examples:
  spikescope scan smollm2-135m
  spikescope scan --model DIR --out runs/mine                   results/scan.json, for 'spikescope report runs/mine'
  spikescope scan smollm2-135m --against runs/smol              how it does against the spikes that a run has found
  spikescope scan large.gguf --token-blocks 0                   dimensions and neurons only)");
  auto options = std::make_shared<Options>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_option("--tower", options->tower, "Of a model with two: text or vision")
      ->check(CLI::IsMember({"text", "vision"}));
  command->add_option("--out", options->out, "Folder for results/scan.json and scan.h5");
  command->add_option("--against", options->against, "OUT of a run of the same model, whose spikes are to be found");
  command->add_option("--top", options->top, "Dimensions and tokens to list, and three times as many neurons")
      ->check(CLI::Range(int64_t{1}, int64_t{10000}))
      ->capture_default_str();
  command
      ->add_option("--token-blocks", options->request.token_blocks,
                   "First blocks that the vocabulary goes through; 0: no tokens (default: to the first that writes)")
      ->check(CLI::Range(0, 1000));
  add_dtype_option(*command, options->dtype);
  command->callback(
      [options, &session] { session.action = [options, &session] { return run_scan(*options, session); }; });
}

}  // namespace spikescope
