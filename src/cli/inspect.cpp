#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "base/fail.h"
#include "base/text.h"
#include "cli/command.h"

namespace spikescope {
namespace {

struct InspectOptions {
  std::string model;
  bool tensors = false, points = false;
};

constexpr const char* kExamples = R"(Examples:
  spikescope inspect smollm2-135m
  spikescope inspect model.gguf --tensors
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
    bytes += static_cast<int64_t>(tensor.bytes.size());
  }
  return formats;
}

Json as_json(const Checkpoint& checkpoint, const InspectOptions& options) {
  Json result = {{"path", checkpoint.path().string()},
                 {"format", checkpoint.format()},
                 {"architecture", to_json(checkpoint.architecture())}};
  for (const auto& [name, sizes] : formats_of(checkpoint.tensors()))
    result["formats"][name] = {{"tensors", sizes.first}, {"bytes", sizes.second}};
  result["tokenizer"] = tokenizer_text(checkpoint);
  result["unused_tensors"] = checkpoint.unused_tensors();
  if (options.tensors)
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      result["tensors"].push_back({{"name", tensor.name},
                                   {"shape", tensor.shape},
                                   {"format", tensor.format->name},
                                   {"bytes", tensor.bytes.size()},
                                   {"file", tensor.file}});
  if (options.points)
    for (const HookPoint& point : hook_points(checkpoint.architecture())) result["points"].push_back(point.name());
  return result;
}

void print_row(std::string_view name, const std::string& value) { fmt::print("  {:<16}{}\n", name, value); }

void print(const Checkpoint& checkpoint, const InspectOptions& options) {
  const Architecture& a = checkpoint.architecture();
  fmt::print("{}\n", checkpoint.path().string());
  print_row("format", checkpoint.format());
  print_row("family", a.family);
  print_row("parameters", fmt::format("{:.1f} million ({})", static_cast<double>(parameter_count(a)) / 1e6,
                                      format_count(parameter_count(a))));
  print_row("layers", fmt::format("{}, width {}", a.n_layers, a.d_model));
  print_row("attention", fmt::format("{} heads of {}, {} KV head{}{}", a.n_heads, a.head_dim, a.n_kv_heads,
                                     a.n_kv_heads == 1 ? "" : "s", a.attention_bias ? ", biases" : ""));
  print_row("RoPE", fmt::format("theta {}, {} of {} channels, scaling {}", a.rope.theta, a.rope.dims, a.head_dim,
                                a.rope.scaling));
  print_row("MLP", fmt::format("gated, width {}{}", a.mlp_width, a.mlp_bias ? ", biases" : ""));
  print_row("norm", fmt::format("RMSNorm before attention and MLP, epsilon {:g}", a.norm_eps));
  print_row("vocabulary", fmt::format("{}, {} embeddings", format_count(a.vocabulary),
                                      a.tied_embeddings ? "tied" : "separate output"));
  print_row("context", fmt::format("{} tokens", format_count(a.context_length)));
  print_row("tokenizer", tokenizer_text(checkpoint));
  std::vector<std::string> parts;
  for (const auto& [name, sizes] : formats_of(checkpoint.tensors()))
    parts.push_back(fmt::format("{} x {} ({})", sizes.first, name, format_bytes(sizes.second)));
  print_row("tensors", fmt::format("{}", fmt::join(parts, ", ")));
  if (const auto unused = checkpoint.unused_tensors(); !unused.empty())
    print_row("not used", fmt::format("{}", fmt::join(unused, ", ")));
  if (options.tensors) {
    fmt::print("\n");
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      fmt::print("  {:<52} {:<18} {:<6} {}\n", tensor.name, shape_text(tensor.shape), tensor.format->name,
                 format_bytes(static_cast<int64_t>(tensor.bytes.size())));
  }
  if (options.points) {
    fmt::print("\nHook points (l: 0 to {}):\n", a.n_layers - 1);
    for (const HookPoint& point : hook_points(a))
      if (point.layer <= 0) {
        std::string name = point.name();
        if (point.layer == 0) name.replace(7, 1, "l");
        fmt::print("  {:<28} [{}{}]\n", name, point.kind().shape == PointShape::square ? "" : "N, ",
                   point.kind().shape == PointShape::square ? fmt::format("{}, T, T", a.n_heads)
                                                            : fmt::format("{}", fmt::join(row_shape(a, point), ", ")));
      }
  }
}

}  // namespace

void add_inspect(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("inspect", "Show a checkpoint's architecture, tensors and tokenizer");
  command->footer(kExamples);
  auto options = std::make_shared<InspectOptions>();
  command->add_option("model,--model", options->model, "Catalogue name, GGUF file, or Hugging Face folder")->required();
  command->add_flag("--tensors", options->tensors, "List every tensor");
  command->add_flag("--points", options->points, "List the hook points");
  command->callback([options, &session] {
    session.action = [options, &session] {
      const auto checkpoint = Checkpoint::open(resolve_model(options->model));
      if (session.json)
        fmt::print("{}\n", json_text(as_json(*checkpoint, *options)));
      else
        print(*checkpoint, *options);
      return 0;
    };
  });
}

}  // namespace spikescope
