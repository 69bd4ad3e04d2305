// A checkpoint opened: files read and checked, architecture known, weights by role, tokenizer at hand.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "families/compressed_tensors.h"
#include "io/json.h"
#include "io/tensor_table.h"
#include "model/architecture.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace spikescope {

struct Family;

class Checkpoint {
 public:
  /// Opens a GGUF file (any part of a split one) or a Hugging Face folder. Throws Error for whatever is missing,
  /// damaged or not supported; a name like org/name, a pytorch_model.bin, GPTQ or AWQ weights get an error that says
  /// what to do. `as`: read it as this family, whatever it calls itself. `tower`: of a checkpoint with towers(), which
  /// cannot be opened as a whole (UsageError).
  static std::unique_ptr<Checkpoint> open(const std::filesystem::path& path, const std::string& as = "",
                                          const std::string& tower = "");
  /// "text" and "vision" where a folder's config.json says that the checkpoint has both (CLIP, SigLIP); else none.
  static std::vector<std::string> towers(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }  ///< absolute
  const std::string& tower() const { return tower_; }          ///< empty: the whole
  const std::string& format() const { return format_; }        ///< "GGUF v3" or "safetensors"
  const Architecture& architecture() const { return architecture_; }
  const TensorTable& tensors() const { return tensors_; }
  const ModelWeights& weights() const { return *weights_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }  ///< of the weights, in order
  /// How the weights are quantized, and the static scales of inputs that come with them; null for a checkpoint as
  /// trained, or a GGUF file. A pass computes with the weights' values, and leaves inputs as they are.
  const Quantization* quantization() const { return quantization_ ? &*quantization_ : nullptr; }
  /// Names of tensors that no role uses.
  std::vector<std::string> unused_tensors() const;
  /// A GGUF file's metadata; null of a folder.
  const Json& gguf_metadata() const { return metadata_; }
  /// The tokenizer; throws Error where the checkpoint has none.
  Tokenizer tokenizer() const;
  /// Hash of the weight files, one after the other.
  std::string sha256() const;

 private:
  Checkpoint() = default;
  void open_gguf(const std::string& as);
  void open_huggingface(const std::string& as);
  void make_weights(const Family& family, Architecture architecture, int64_t more_layers, const std::string& what,
                    const std::function<WeightPlace(const WeightKey&)>& place);

  std::filesystem::path path_;
  std::string tower_;
  std::string format_;
  Architecture architecture_;
  TensorTable tensors_;
  std::unique_ptr<ModelWeights> weights_;
  std::vector<std::filesystem::path> files_;
  std::optional<Quantization> quantization_;
  Json metadata_;  // of a GGUF, for its tokenizer
};

/// The architecture as JSON, under the field's names.
Json to_json(const Architecture& architecture);
/// The same of a checkpoint, with its tower where it has one: what a dump records.
Json to_json(const Checkpoint& checkpoint);

}  // namespace spikescope
