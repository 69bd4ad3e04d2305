// Checkpoints whose weights Hugging Face's compressed-tensors has quantized: `quantization_config` in config.json says
// how, and each quantized matrix is several tensors (values, scales, zero points).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/quantized_tensor.h"

namespace spikescope {

/// How a group of linear layers reads its inputs.
struct ActivationFormat {
  int bits = 8;
  bool symmetric = true;
  bool dynamic = false;       ///< scales are made as the values come
  std::string strategy = {};  ///< "tensor", "token", "group"
};

/// The scale of a linear layer's inputs where it is static: value = (q - zero_point) * scale.
struct ActivationScale {
  float scale = 1.0f;
  int zero_point = 0;
};

/// A checkpoint's quantization_config.
struct Quantization {
  struct Group {
    std::string name;
    std::vector<std::string> targets;  ///< names of modules, "re:" with an expression, or "Linear"
    WeightFormat weights;
    std::optional<ActivationFormat> inputs;
  };
  std::string format;  ///< "pack-quantized", "int-quantized" or "naive-quantized"
  std::vector<Group> groups;
  std::vector<std::string> ignore;                      ///< modules kept in floating point, spelled as targets are
  std::map<std::string, ActivationScale> input_scales;  ///< by module: "model.layers.0.mlp.down_proj"
  int64_t matrices = 0;                                 ///< that are quantized

  /// A line for each group, and one for static scales of inputs.
  std::vector<std::string> text() const;
};

/// As `inspect --json` prints it.
Json to_json(const Quantization& quantization);

/// What `quantization_config` says; nothing where there is none, or one that leaves the weights as they are. Throws
/// Error, naming `what`, for another quantizer's and for formats that cannot be read.
std::optional<Quantization> read_quantization(const Json& config, const std::string& what);

/// The table with each quantized matrix as one tensor "<module>.weight" in place of its parts; fills in input_scales
/// and matrices. Throws Error, naming file and tensor, for parts that are missing, too many, or do not fit together.
TensorTable join_quantized(const TensorTable& tensors, Quantization& quantization, const std::string& what);

}  // namespace spikescope
