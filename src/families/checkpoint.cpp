#include "families/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/fail.h"
#include "families/family.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/sha256.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

std::string supported(std::span<const std::string_view> Family::*names) {
  std::vector<std::string_view> all;
  for (const Family& family : families()) all.insert(all.end(), (family.*names).begin(), (family.*names).end());
  return fmt::format("{}", fmt::join(all, ", "));
}

const Family& find_family(std::span<const std::string_view> Family::*names, const std::string& name,
                          const std::string& what, std::string_view key) {
  for (const Family& family : families()) {
    const auto& known = family.*names;
    if (std::find(known.begin(), known.end(), name) != known.end()) return family;
  }
  fail("{}: {} '{}' is not supported; supported are: {}", what, key, name, supported(names));
}

/// Roles that this architecture has.
bool uses(const Architecture& a, Role role) {
  switch (role) {
    case Role::b_q:
    case Role::b_k:
    case Role::b_v:
      return a.attention_bias;
    case Role::b_o:
      return a.attention_out_bias;
    case Role::b_gate:
    case Role::b_up:
    case Role::b_down:
      return a.mlp_bias;
    case Role::unembedding:
      return !a.tied_embeddings;
    default:
      return true;
  }
}

/// The layer in a tensor's name ("model.layers.7.…", "blk.7.…"); -1 outside layers.
int64_t layer_of(std::string_view tensor) {
  for (const std::string_view prefix : {"layers.", "blk."}) {
    const size_t at = tensor.find(prefix);
    if (at == std::string_view::npos || (at > 0 && tensor[at - 1] != '.')) continue;
    int64_t layer = 0;
    size_t i = at + prefix.size();
    if (i >= tensor.size() || tensor[i] < '0' || tensor[i] > '9') continue;
    for (; i < tensor.size() && tensor[i] >= '0' && tensor[i] <= '9' && layer < (int64_t{1} << 32); ++i)
      layer = layer * 10 + (tensor[i] - '0');
    return layer;
  }
  return -1;
}

void check_no_extra_layers(const TensorTable& tensors, const Architecture& a, const std::string& what) {
  for (const TensorInfo& tensor : tensors.tensors())
    if (const int64_t layer = layer_of(tensor.name); layer >= a.n_layers)
      fail("{}: tensor '{}' belongs to layer {}, but the config has {} layers (0 to {})", what, tensor.name, layer,
           a.n_layers, a.n_layers - 1);
}

/// What to do about a path that is no checkpoint.
[[noreturn]] void fail_not_a_checkpoint(const fs::path& path) {
  const std::string text = path.string();
  if (!fs::exists(path)) {
    const bool hub_name = std::count(text.begin(), text.end(), '/') == 1 && text.front() != '/' && text.front() != '.';
    if (hub_name)
      fail(
          "'{}' is not a file or folder here; Spikescope does not download from a hub: fetch the repository yourself "
          "and give its folder, or use a name that 'spikescope models' lists",
          text);
    fail("'{}': no such file or folder, nor a name that 'spikescope models' lists", text);
  }
  const std::string extension = path.extension().string();
  if (extension == ".bin" || extension == ".pt" || extension == ".pth")
    fail(
        "{}: pickled PyTorch weights can run code and are not read; convert them to safetensors (save_pretrained with "
        "safe_serialization=True)",
        text);
  if (extension == ".safetensors") fail("{}: give the folder that holds this file and config.json", text);
  fail("{}: neither a GGUF file (.gguf) nor a Hugging Face folder with config.json", text);
}

/// config.json's way to say that the weights are packed by another quantizer.
void refuse_packed_weights(const Json& config, const std::string& what) {
  const auto packed = config.find("quantization_config");
  if (packed == config.end() || !packed->is_object()) return;
  const std::string method = json_get_or<std::string>(*packed, "quant_method", "unknown", what);
  if (method != "gguf")
    fail("{}: the weights are packed by '{}', which is not supported; use the original checkpoint or a GGUF of it",
         what, method);
}

fs::path weight_file(const fs::path& folder) {
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (fs::exists(folder / name)) return folder / name;
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (fs::exists(folder / name)) fail_not_a_checkpoint(folder / "pytorch_model.bin");
  fail("{}: no model.safetensors and no model.safetensors.index.json in this folder", folder.string());
}

std::string with_layer(std::string_view name, int layer) {
  const size_t at = name.find("{}");
  if (at == std::string_view::npos) return std::string(name);
  return std::string(name.substr(0, at)) + std::to_string(layer) + std::string(name.substr(at + 2));
}

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  const bool folder = fs::is_directory(path);
  if (!folder && !(fs::is_regular_file(path) && path.extension() == ".gguf")) fail_not_a_checkpoint(path);
  if (folder && !fs::exists(path / "config.json")) fail_not_a_checkpoint(path);
  checkpoint->path_ = fs::canonical(path);
  if (folder)
    checkpoint->open_huggingface();
  else
    checkpoint->open_gguf();
  return checkpoint;
}

void Checkpoint::open_gguf() {
  GgufFile file = read_gguf(path_);
  const std::string what = path_.filename().string();
  const std::string name = json_get<std::string>(file.metadata, "general.architecture", what);
  const Family& family = find_family(&Family::gguf_architectures, name, what, "general.architecture");
  format_ = fmt::format("GGUF v{}", file.version);
  tensors_ = std::move(file.tensors);
  files_ = std::move(file.parts);
  metadata_ = std::move(file.metadata);
  architecture_ = family.from_gguf(metadata_, tensors_, what);
  architecture_.family = family.name;
  architecture_.attention_scale = 1.0 / std::sqrt(static_cast<double>(architecture_.head_dim));
  validate(architecture_, what);
  check_no_extra_layers(tensors_, architecture_, what);
  weights_ =
      std::make_unique<ModelWeights>(tensors_, architecture_, [this, &family](Role role, int layer) -> WeightPlace {
        if (!uses(architecture_, role)) return {};
        for (const RoleName& entry : family.names)
          if (entry.role == role) {
            int64_t heads = 0;
            if (family.gguf_permutes_qk && (role == Role::w_q || role == Role::b_q)) heads = architecture_.n_heads;
            if (family.gguf_permutes_qk && (role == Role::w_k || role == Role::b_k)) heads = architecture_.n_kv_heads;
            return {with_layer(entry.gguf, layer), heads};
          }
        return {};
      });
}

void Checkpoint::open_huggingface() {
  const std::string what = (path_.filename() / "config.json").string();
  const Json config = read_json_file(path_ / "config.json", int64_t{16} << 20);
  if (!config.is_object()) fail("{}: expected a JSON object", what);
  refuse_packed_weights(config, what);
  const Family& family =
      find_family(&Family::model_types, json_get<std::string>(config, "model_type", what), what, "model_type");
  format_ = "safetensors";
  architecture_ = family.from_config(config, what);
  architecture_.family = family.name;
  architecture_.attention_scale = 1.0 / std::sqrt(static_cast<double>(architecture_.head_dim));
  validate(architecture_, what);
  SafetensorsFile file = read_safetensors(weight_file(path_));
  tensors_ = std::move(file.tensors);
  files_ = std::move(file.parts);
  check_no_extra_layers(tensors_, architecture_, path_.filename().string());
  // A base model saved without its head has the same names less "model.".
  constexpr std::string_view kPrefix = "model.";
  const bool bare = !tensors_.find("model.embed_tokens.weight") && tensors_.find("embed_tokens.weight");
  if (bare && !tensors_.find("lm_head.weight")) architecture_.tied_embeddings = true;
  weights_ = std::make_unique<ModelWeights>(tensors_, architecture_,
                                            [this, &family, bare, kPrefix](Role role, int layer) -> WeightPlace {
                                              if (!uses(architecture_, role)) return {};
                                              for (const RoleName& entry : family.names)
                                                if (entry.role == role) {
                                                  std::string_view name = entry.huggingface;
                                                  if (bare && name.starts_with(kPrefix))
                                                    name.remove_prefix(kPrefix.size());
                                                  return {with_layer(name, layer), 0};
                                                }
                                              return {};
                                            });
}

std::vector<std::string> Checkpoint::unused_tensors() const {
  std::set<std::string> used;
  for (const Role role : all_roles())
    for (int layer = is_per_block(role) ? 0 : -1; layer < (is_per_block(role) ? architecture_.n_layers : 0); ++layer)
      if (const std::string name = weights_->tensor_name(role, layer); !name.empty()) used.insert(name);
  std::vector<std::string> unused;
  for (const TensorInfo& tensor : tensors_.tensors())
    if (!used.contains(tensor.name)) unused.push_back(tensor.name);
  return unused;
}

Tokenizer Checkpoint::tokenizer() const {
  if (!metadata_.is_null()) return Tokenizer::from_gguf(metadata_, path_.filename().string());
  return Tokenizer::from_path(path_);
}

std::string Checkpoint::sha256() const { return sha256_files(files_); }

Json to_json(const Architecture& a) {
  return {
      {"family", a.family},
      {"n_layers", a.n_layers},
      {"d_model", a.d_model},
      {"n_heads", a.n_heads},
      {"n_kv_heads", a.n_kv_heads},
      {"head_dim", a.head_dim},
      {"mlp_width", a.mlp_width},
      {"vocabulary", a.vocabulary},
      {"context_length", a.context_length},
      {"norm_eps", a.norm_eps},
      {"attention_bias", a.attention_bias},
      {"mlp_bias", a.mlp_bias},
      {"tied_embeddings", a.tied_embeddings},
      {"rope_theta", a.rope.theta},
      {"rope_dims", a.rope.dims},
      {"rope_scaling", a.rope.scaling},
      {"parameters", parameter_count(a)},
  };
}

}  // namespace spikescope
