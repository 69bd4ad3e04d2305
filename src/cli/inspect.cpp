#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/fail.h"
#include "base/text.h"
#include "capture/estimate.h"
#include "cli/command.h"

namespace spikescope {
namespace {

struct InspectOptions {
  std::string model, as;
  bool tensors = false, points = false, no_estimate = false;
  int64_t windows = 4, length = 512;
  Dtype dtype = Dtype::float32;
};

constexpr const char* kExamples = R"(Examples:
  spikescope inspect smollm2-135m
  spikescope inspect model.gguf --tensors
  spikescope inspect model.gguf --windows 16 --length 2048     how long a capture of so much text will take
  spikescope inspect DIR --points --json)";

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string tokenizer_text(const Checkpoint& checkpoint) {
  try {
    return checkpoint.tokenizer().description();
  } catch (const Error& error) {
    return fmt::format("none ({})", error.what());
  }
}

/// Bytes and tensors by value format.
std::map<std::string, std::pair<int64_t, int64_t>> formats_of(const TensorTable& tensors) {
  std::map<std::string, std::pair<int64_t, int64_t>> formats;
  for (const TensorInfo& tensor : tensors.tensors()) {
    auto& [count, bytes] = formats[std::string(tensor.format->name)];
    ++count;
    bytes += tensor.stored_bytes();
  }
  return formats;
}

/// Nothing where the weights cannot be read: the rest of what inspect says is still of use.
std::optional<CaptureEstimate> estimate(const Checkpoint& checkpoint, const InspectOptions& options,
                                        const Session& session) {
  if (options.no_estimate) return std::nullopt;
  set_threads(session.threads);
  try {
    choose_products(options.dtype);
    const Architecture& a = checkpoint.architecture();
    return estimate_capture(checkpoint, options.windows, a.patches ? a.context_length : options.length);
  } catch (const Error& error) {
    note(session, fmt::format("no estimate of time and memory: {}", error.what()));
    return std::nullopt;
  }
}

Json as_json(const Checkpoint& checkpoint, const InspectOptions& options,
             const std::optional<CaptureEstimate>& capture) {
  Json result = {{"path", checkpoint.path().string()},
                 {"format", checkpoint.format()},
                 {"architecture", to_json(checkpoint.architecture())}};
  for (const auto& [name, sizes] : formats_of(checkpoint.tensors()))
    result["formats"][name] = {{"tensors", sizes.first}, {"bytes", sizes.second}};
  if (!checkpoint.architecture().patches) result["tokenizer"] = tokenizer_text(checkpoint);
  if (const Quantization* quantization = checkpoint.quantization()) result["quantization"] = to_json(*quantization);
  result["unused_tensors"] = checkpoint.unused_tensors();
  if (capture)
    result["capture_estimate"] = {{"windows", options.windows},
                                  {"length", capture->tokens / options.windows},
                                  {"seconds", capture->seconds},
                                  {"tokens_per_second", capture->tokens / capture->seconds},
                                  {"peak_bytes", capture->peak_bytes},
                                  {"dump_bytes", capture->dump_bytes},
                                  {"flops_per_second", capture->compute_rate},
                                  {"threads", threads()}};
  if (options.tensors)
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      result["tensors"].push_back({{"name", tensor.name},
                                   {"shape", tensor.shape},
                                   {"format", tensor.format->name},
                                   {"bytes", tensor.stored_bytes()},
                                   {"file", tensor.file}});
  if (options.points)
    for (const HookPoint& point : hook_points(checkpoint.architecture())) result["points"].push_back(point.name());
  return result;
}

void print_row(std::string_view name, const std::string& value) { fmt::print("  {:<16}{}\n", name, value); }

std::string positions_text(const Architecture& a) {
  if (!a.alibi_slopes.empty()) return "ALiBi";
  if (a.ropes.empty()) return a.learned_positions > 0 ? "learned" : "none";
  std::vector<std::string> ropes;
  for (const Rope& rope : a.ropes)
    ropes.push_back(
        fmt::format("RoPE theta {}, {} of {} channels, scaling {}", rope.theta, rope.dims, a.head_dim, rope.scaling));
  return fmt::format("{}", fmt::join(ropes, "; "));
}

void print(const Checkpoint& checkpoint, const InspectOptions& options, const std::optional<CaptureEstimate>& capture) {
  const Architecture& a = checkpoint.architecture();
  fmt::print("{}{}\n", checkpoint.path().string(),
             checkpoint.tower().empty() ? "" : fmt::format(": {} tower", checkpoint.tower()));
  print_row("format", checkpoint.format());
  print_row("family", a.family);
  print_row("parameters", fmt::format("{:.1f} million ({})", static_cast<double>(parameter_count(a)) / 1e6,
                                      format_count(parameter_count(a))));
  const ParameterParts parts_of = parameter_parts(a);
  print_row("", fmt::format("embeddings {}, attention {}, MLP {}, head {}", format_count(parts_of.embeddings),
                            format_count(parts_of.attention), format_count(parts_of.mlp), format_count(parts_of.head)));
  print_row("layers", fmt::format("{}, width {}", a.n_layers, a.d_model));
  print_row("attention", fmt::format("{} heads of {}, {} KV head{}", a.n_heads, a.head_dim, a.n_kv_heads,
                                     a.n_kv_heads == 1 ? "" : "s"));
  print_row("positions", positions_text(a));
  print_row("MLP", fmt::format("width {}, {}{}{}", a.mlp_width, activator_name(a.activation), a.gated ? ", gated" : "",
                               a.mlp_bias ? ", biases" : ""));
  print_row("norm", fmt::format("{}, epsilon {:g}", a.norm == NormKind::rms ? "RMSNorm" : "layer norm", a.norm_eps));
  const std::vector<std::string> unusual = peculiarities(a);
  print_row("unusual", unusual.empty() ? "nothing" : fmt::format("{}", fmt::join(unusual, "; ")));
  if (a.patches)
    print_row("images", fmt::format("{0} x {0} pixels in patches of {1} x {1}", a.patches.image, a.patches.size));
  else
    print_row("vocabulary", fmt::format("{}, {} embeddings", format_count(a.vocabulary),
                                        a.tied_embeddings ? "tied" : "separate output"));
  print_row("context", fmt::format("{} tokens", format_count(a.context_length)));
  if (!a.patches) print_row("tokenizer", tokenizer_text(checkpoint));
  std::vector<std::string> parts;
  for (const auto& [name, sizes] : formats_of(checkpoint.tensors()))
    parts.push_back(fmt::format("{} x {} ({})", sizes.first, name, format_bytes(sizes.second)));
  print_row("tensors", fmt::format("{}", fmt::join(parts, ", ")));
  if (const Quantization* quantization = checkpoint.quantization())
    print_row("quantized", fmt::format("{}", fmt::join(quantization->text(), "\n                  ")));
  if (capture)
    print_row("capture",
              fmt::format("{} x {} tokens: about {:.2g} s ({} tokens/s), {} of memory, {} of dump", options.windows,
                          format_count(capture->tokens / options.windows), capture->seconds,
                          format_count(std::llround(static_cast<double>(capture->tokens) / capture->seconds)),
                          format_bytes(capture->peak_bytes), format_bytes(capture->dump_bytes)));
  if (std::vector<std::string> unused = checkpoint.unused_tensors(); !unused.empty()) {
    constexpr size_t kMost = 12;  // --json has them all
    const size_t more = unused.size() > kMost ? unused.size() - kMost : 0;
    unused.resize(unused.size() - more);
    print_row("not used",
              fmt::format("{}{}", fmt::join(unused, ", "), more > 0 ? fmt::format(" and {} more", more) : ""));
  }
  if (options.tensors) {
    fmt::print("\n");
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      fmt::print("  {:<52} {:<18} {:<6} {}\n", tensor.name, shape_text(tensor.shape), tensor.format->name,
                 format_bytes(tensor.stored_bytes()));
  }
  if (options.points) {
    fmt::print("\nHook points (l: 0 to {}):\n", a.n_layers - 1);
    std::set<Point> seen;  // layers may differ: each point once
    for (const HookPoint& point : hook_points(a)) {
      if (!seen.insert(point.point).second) continue;
      const std::string name = point.layer < 0 ? point.name() : fmt::format("blocks.l.{}", point.kind().name);
      const std::string sizes = fmt::format("{}", fmt::join(row_shape(a, point), ", "));
      fmt::print("  {:<28} [{}]\n", name,
                 point.kind().shape == PointShape::square
                     ? sizes + ", T, T"
                     : fmt::format("{}, {}", point.kind().per_prompt() ? "prompts" : "N", sizes));
    }
  }
}

}  // namespace

void add_inspect(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("inspect", "Show a checkpoint's architecture, tensors and tokenizer");
  command->footer(kExamples);
  auto options = std::make_shared<InspectOptions>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_option("--as", options->as, "Read it as this family (docs/families.md), whatever it calls itself");
  command->add_flag("--tensors", options->tensors, "List every tensor");
  command->add_flag("--points", options->points, "List the hook points");
  command->add_option("--windows", options->windows, "Windows of the capture whose time and memory are estimated")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str()
      ->group("Estimate");
  command->add_option("--length", options->length, "Tokens of each")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str()
      ->group("Estimate");
  command->add_flag("--no-estimate", options->no_estimate, "No trial of a block: show what the files say, at once")
      ->group("Estimate");
  add_dtype_option(*command, options->dtype);
  command->callback([options, &session] {
    session.action = [options, &session] {
      const std::filesystem::path path = resolve_model(options->model);
      std::vector<std::string> towers = Checkpoint::towers(path);
      const bool several = !towers.empty();
      if (!several) towers.emplace_back();
      Json json = Json::object();
      for (const std::string& tower : towers) {
        const auto checkpoint = Checkpoint::open(path, options->as, tower);
        const std::optional<CaptureEstimate> capture = estimate(*checkpoint, *options, session);
        if (session.json)
          (several ? json[tower] : json) = as_json(*checkpoint, *options, capture);
        else
          print(*checkpoint, *options, capture);
      }
      if (session.json) fmt::print("{}\n", json_text(json));
      return 0;
    };
  });
}

}  // namespace spikescope
