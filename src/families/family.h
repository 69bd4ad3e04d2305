// What a model family is: how its config becomes an Architecture, and what its tensors are called. One row of the table
// in families/families.cpp each; families/<name>.cpp is a page of mapping, with no forward pass of its own.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "io/json.h"
#include "io/tensor_table.h"
#include "model/architecture.h"
#include "model/weights.h"

namespace spikescope {

/// A role's tensor; "{}" stands for the layer. An empty name: does not occur in that format.
struct RoleName {
  Role role;
  std::string_view huggingface;
  std::string_view gguf;
};

struct Family {
  std::string_view name;                                 ///< "llama"
  std::span<const std::string_view> model_types;         ///< `model_type` in config.json
  std::span<const std::string_view> gguf_architectures;  ///< `general.architecture` in GGUF
  /// From config.json, as transformers 4 or 5 writes it. `what` names the file in messages.
  Architecture (*from_config)(const Json& config, const std::string& what);
  /// From GGUF metadata; `tensors` tells what metadata does not (biases, tied embeddings, RoPE factors).
  Architecture (*from_gguf)(const Json& metadata, const TensorTable& tensors, const std::string& what);
  std::span<const RoleName> names;
  bool gguf_permutes_qk;  ///< llama.cpp's converter stores q and k rows as interleaved pairs
};

std::span<const Family> families();

/// llama.cpp
extern const Family kLlama;

}  // namespace spikescope
