#include "families/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/fail.h"
#include "families/choose.h"
#include "families/family.h"
#include "families/places.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "io/sha256.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

constexpr int64_t kMostConfigBytes = int64_t{16} << 20;

/// A kind of checkpoint with two models in it, each with a config of its own.
struct TwoTowers {
  std::string_view model_type, text_type, vision_type;
};
constexpr TwoTowers kTwoTowers[] = {
    {"clip", "clip_text_model", "clip_vision_model"},
    {"siglip", "siglip_text_model", "siglip_vision_model"},
};

const TwoTowers* two_towers(const Json& config) {
  const auto type = config.is_object() ? config.find("model_type") : config.end();
  if (!config.is_object() || type == config.end() || !type->is_string()) return nullptr;
  for (const TwoTowers& towers : kTwoTowers)
    if (towers.model_type == type->get<std::string>()) return &towers;
  return nullptr;
}

/// The config of one tower, with what stands outside of it and counts for both.
Json tower_config(const Json& config, const TwoTowers& towers, const std::string& tower, const std::string& what) {
  const bool text = tower == "text";
  if (!text && tower != "vision") fail_usage("{}: there is no tower '{}'; choose text or vision", what, tower);
  const auto found = config.find(tower + "_config");
  if (found == config.end() || !found->is_object()) fail("{}: expected an object under '{}_config'", what, tower);
  Json own = *found;
  own["model_type"] = text ? towers.text_type : towers.vision_type;
  if (config.contains("projection_dim")) own["projection_dim"] = config["projection_dim"];
  return own;
}

/// The config of the text model inside one for texts and images, of a kind that is not known itself; null where there
/// is none.
const Json* text_model_inside(const Json& config) {
  const auto known = [](const Json& json) {
    const auto type = json.find("model_type");
    if (type == json.end() || !type->is_string()) return false;
    return std::any_of(families().begin(), families().end(), [&](const Family& family) {
      return std::find(family.model_types.begin(), family.model_types.end(), type->get<std::string>()) !=
             family.model_types.end();
    });
  };
  const auto inner = config.find("text_config");
  return !known(config) && inner != config.end() && inner->is_object() && known(*inner) ? &*inner : nullptr;
}

/// Whether a tensor belongs to the tower that is not looked at.
bool of_other_tower(std::string_view tensor, const std::string& tower) {
  if (tower == "text") return tensor.starts_with("vision_model.") || tensor == "visual_projection.weight";
  if (tower == "vision") return tensor.starts_with("text_model.") || tensor == "text_projection.weight";
  return false;
}

/// The layer in a tensor's name ("model.layers.7.…", "blk.7.…", "h.7.…"); -1 outside layers.
int64_t layer_of(std::string_view tensor) {
  for (const std::string_view word : {"layers.", "layer.", "blk.", "blocks.", "h."}) {
    const size_t at = tensor.find(word);
    if (at == std::string_view::npos || (at > 0 && tensor[at - 1] != '.')) continue;
    int64_t layer = 0;
    size_t i = at + word.size();
    if (i >= tensor.size() || tensor[i] < '0' || tensor[i] > '9') continue;
    for (; i < tensor.size() && tensor[i] >= '0' && tensor[i] <= '9' && layer < (int64_t{1} << 32); ++i)
      layer = layer * 10 + (tensor[i] - '0');
    return layer;
  }
  return -1;
}

/// `more`: layers after the blocks that the config announces (for predicting several tokens).
void check_no_extra_layers(const TensorTable& tensors, const std::string& tower, const Architecture& a, int64_t more,
                           const std::string& what) {
  for (const TensorInfo& tensor : tensors.tensors())
    if (of_other_tower(tensor.name, tower)) {
      continue;
    } else if (const int64_t layer = layer_of(tensor.name); layer >= a.n_layers + more)
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

fs::path weight_file(const fs::path& folder) {
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (fs::exists(folder / name)) return folder / name;
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (fs::exists(folder / name)) fail_not_a_checkpoint(folder / "pytorch_model.bin");
  fail("{}: no model.safetensors and no model.safetensors.index.json in this folder", folder.string());
}

/// What stands in the checkpoint's names where the family's prefix should: a base model saved alone has nothing there,
/// a model inside a larger one has more. Known by the first of the family's names.
std::string prefix_in(const TensorTable& tensors, const Family& family) {
  std::vector<std::string_view> prefixes = family.other_prefixes;
  prefixes.insert(prefixes.begin(), {family.prefix, std::string_view()});
  const std::string_view probe = family.names.front().huggingface.pattern.substr(family.prefix.size());
  for (const std::string_view prefix : prefixes)
    if (tensors.find(std::string(prefix) + std::string(probe))) return std::string(prefix);
  return std::string(family.prefix);
}

/// Buffers that old versions of transformers saved with the weights, which a pass makes itself; and GGUF's RoPE, which
/// the architecture is made from.
bool is_buffer(std::string_view tensor) {
  constexpr std::string_view kEnds[] = {"rotary_emb.inv_freq",
                                        ".attn.bias",
                                        ".attn.masked_bias",
                                        ".attention.bias",
                                        ".masked_bias",
                                        "position_ids",
                                        "rope_freqs.weight",
                                        "rope_factors_long.weight",
                                        "rope_factors_short.weight"};
  return std::any_of(std::begin(kEnds), std::end(kEnds), [&](std::string_view end) { return tensor.ends_with(end); });
}

}  // namespace

std::vector<std::string> Checkpoint::towers(const fs::path& path) {
  if (!fs::is_directory(path) || !fs::exists(path / "config.json")) return {};
  const Json config = read_json_file(path / "config.json", kMostConfigBytes);
  return two_towers(config) ? std::vector<std::string>{"text", "vision"} : std::vector<std::string>{};
}

std::unique_ptr<Checkpoint> Checkpoint::open(const fs::path& path, const std::string& as, const std::string& tower) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->tower_ = tower;
  const bool folder = fs::is_directory(path);
  if (!folder && !(fs::is_regular_file(path) && path.extension() == ".gguf")) fail_not_a_checkpoint(path);
  if (folder && !fs::exists(path / "config.json")) fail_not_a_checkpoint(path);
  checkpoint->path_ = fs::canonical(path);
  if (folder)
    checkpoint->open_huggingface(as);
  else
    checkpoint->open_gguf(as);
  return checkpoint;
}

void Checkpoint::open_gguf(const std::string& as) {
  GgufFile file = read_gguf(path_);
  const std::string what = path_.filename().string();
  const std::string name = json_get<std::string>(file.metadata, "general.architecture", what);
  format_ = fmt::format("GGUF v{}", file.version);
  tensors_ = std::move(file.tensors);
  files_ = std::move(file.parts);
  metadata_ = std::move(file.metadata);
  const Config config(metadata_, what, name + ".");
  const Family& family = choose_family(Format::gguf, name, as, config, tensors_);
  make_weights(family, family.from_gguf(config, tensors_), 0, what, [this, &family](const WeightKey& key) {
    WeightPlace place = place_of(architecture_, tensors_, key, name_of(family, key.role).gguf, {});
    const bool query = key.role == Role::w_q || key.role == Role::b_q,
               of_key = key.role == Role::w_k || key.role == Role::b_k;
    if (family.gguf_permutes_qk && (query || of_key))
      place.unpermute_heads = query ? architecture_.n_heads : architecture_.n_kv_heads;
    return place;
  });
}

void Checkpoint::open_huggingface(const std::string& as) {
  const std::string what = (path_.filename() / "config.json").string();
  Json json = read_json_file(path_ / "config.json", kMostConfigBytes);
  if (!json.is_object()) fail("{}: expected a JSON object", what);
  quantization_ = read_quantization(json, what);
  if (const TwoTowers* towers = two_towers(json)) {
    if (tower_.empty())
      fail_usage("{}: a '{}' checkpoint has two towers; choose text or vision", what, towers->model_type);
    json = tower_config(json, *towers, tower_, what);
  } else if (const Json* inner = text_model_inside(json)) {
    json = Json(*inner);
  } else if (!tower_.empty()) {
    fail_usage("{}: the checkpoint has no towers, but '{}' was asked for", what, tower_);
  }
  format_ = "safetensors";
  SafetensorsFile file = read_safetensors(weight_file(path_));
  tensors_ = quantization_ ? join_quantized(file.tensors, *quantization_, what) : std::move(file.tensors);
  files_ = std::move(file.parts);
  const std::string type = json_get<std::string>(json, "model_type", what);
  const Config config(json, what);
  const Family& family = choose_family(Format::huggingface, type, as, config, tensors_);
  const std::string prefix = prefix_in(tensors_, family);
  Architecture architecture = family.from_config(config, tensors_);
  // A base model saved without its head.
  if (architecture.head && prefix.empty() && !tensors_.find(name_of(family, Role::unembedding).huggingface.pattern))
    architecture.tied_embeddings = true;
  make_weights(
      family, std::move(architecture), config.integer_or("num_nextn_predict_layers", 0), what,
      [this, &family, &prefix](const WeightKey& key) {
        return place_of(architecture_, tensors_, key, name_of(family, key.role).huggingface, {family.prefix, prefix});
      });
}

void Checkpoint::make_weights(const Family& family, Architecture architecture, int64_t more_layers,
                              const std::string& what, const std::function<WeightPlace(const WeightKey&)>& place) {
  architecture_ = std::move(architecture);
  architecture_.family = family.name;
  architecture_.blocks.resize(static_cast<size_t>(architecture_.n_layers));
  if (architecture_.attention_scale == 0.0)
    architecture_.attention_scale = 1.0 / std::sqrt(static_cast<double>(architecture_.head_dim));
  validate(architecture_, what);
  check_no_extra_layers(tensors_, tower_, architecture_, more_layers, what);
  weights_ = std::make_unique<ModelWeights>(tensors_, architecture_, place);
}

std::vector<std::string> Checkpoint::unused_tensors() const {
  std::set<std::string_view> used;
  for (const WeightKey& key : weight_keys(architecture_)) used.insert(weights_->tensor(key).name);
  std::vector<std::string> unused;
  for (const TensorInfo& tensor : tensors_.tensors())
    if (!used.contains(tensor.name) && !is_buffer(tensor.name) && !of_other_tower(tensor.name, tower_))
      unused.push_back(tensor.name);
  return unused;
}

Tokenizer Checkpoint::tokenizer() const {
  if (!metadata_.is_null()) return Tokenizer::from_gguf(metadata_, path_.filename().string());
  return Tokenizer::from_path(path_);
}

std::string Checkpoint::sha256() const { return sha256_files(files_); }

}  // namespace spikescope
