// Comparing a pass with transformers' recorded tensors (shared fixtures), hook point by hook point.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fixtures.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/runner.h"

namespace spikescope::testing {

/// Everything a pass reports at the points that a glob names, put together again from its pieces.
class Recorder {
 public:
  explicit Recorder(const TokenBatch& batch) : tokens_(static_cast<int64_t>(batch.ids.size())) {}

  Observer observer() {
    return [this](const Activation& a) {
      const bool square = a.point.kind().shape == PointShape::square;
      const std::string name = a.point.name() + (square ? "/" + std::to_string(a.first_row) : "");
      Tensor& tensor = tensors_[name];
      const int64_t size = a.values.row_size();
      if (tensor.values.empty()) {
        tensor.shape = a.values.shape;
        if (!square) tensor.shape[0] = tokens_;
        tensor.values.resize(static_cast<size_t>(tensor.shape[0] * size), std::numeric_limits<float>::quiet_NaN());
      }
      const int64_t first = square ? 0 : a.first_row;
      for (int64_t row = 0; row < a.values.rows(); ++row)
        std::memcpy(tensor.values.data() + (first + row) * size, a.values.row(row),
                    static_cast<size_t>(size) * sizeof(float));
    };
  }

  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  const Tensor& at(const std::string& name) const { return tensors_.at(name); }
  bool has(const std::string& name) const { return tensors_.contains(name); }

 private:
  int64_t tokens_;
  std::map<std::string, Tensor> tensors_;
};

template <class T>
std::vector<T> raw_values(const TensorInfo& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(T));
  return values;
}

/// [heads, T, size] -> [T, heads, size].
inline std::vector<float> tokens_first(const std::vector<float>& values, const std::vector<int64_t>& shape) {
  std::vector<float> out(values.size());
  for (int64_t h = 0; h < shape[0]; ++h)
    for (int64_t t = 0; t < shape[1]; ++t)
      std::copy_n(values.begin() + (h * shape[1] + t) * shape[2], shape[2],
                  out.begin() + (t * shape[0] + h) * shape[2]);
  return out;
}

/// The hook point that a golden tensor records, or "" for inputs and masks.
inline std::string point_of(const std::string& golden, int64_t layers) {
  static const std::map<std::string, std::string> kBlockPoints = {
      {"attn_norm", "ln1.out"},
      {"mlp_norm", "ln2.out"},
      {"q", "attn.q"},
      {"k", "attn.k"},
      {"v", "attn.v"},
      {"q_rot", "attn.rot_q"},
      {"k_rot", "attn.rot_k"},
      {"scores", "attn.scores/0"},
      {"probs", "attn.pattern/0"},
      {"attn_ctx", "attn.z"},
      {"attn_out", "attn_out"},
      {"resid_mid", "resid_mid"},
      {"mlp_act", "mlp.post"},
      {"mlp_out", "mlp_out"},
  };
  if (golden == "input_ids" || golden.ends_with(".mask")) return "";
  if (golden == "final_norm") return "ln_final.out";
  if (golden == "logits") return "logits";
  if (golden.starts_with("hidden_states_")) {
    const int64_t layer = std::stoll(golden.substr(14));
    return layer < layers ? "blocks." + std::to_string(layer) + ".resid_pre"
                          : "blocks." + std::to_string(layers - 1) + ".resid_post";
  }
  const size_t dot = golden.find('.', 7);
  return "blocks." + golden.substr(7, dot - 7) + "." + kBlockPoints.at(golden.substr(dot + 1));
}

/// Compares every golden tensor that `recorder` is expected to hold; `tolerance(name)` is the largest difference
/// allowed. Returns how many were compared.
template <class Tolerance>
int compare_with_golden(const TensorTable& golden, int64_t layers, const Recorder& recorder, bool squares,
                        Tolerance tolerance) {
  int compared = 0;
  for (const TensorInfo& tensor : golden.tensors()) {
    if (tensor.name.starts_with("dequant.")) continue;
    const std::string point = point_of(tensor.name, layers);
    const bool is_square = point.ends_with("/0");
    if (point.empty() || (is_square && !squares)) continue;
    EXPECT_TRUE(recorder.has(point)) << tensor.name << " is recorded, but the pass has no " << point;
    if (!recorder.has(point)) continue;
    std::vector<float> expected = read_tensor(tensor);
    const std::vector<float>& actual = recorder.at(point).values;
    if (tensor.shape.size() == 3 && !is_square) expected = tokens_first(expected, tensor.shape);
    EXPECT_EQ(expected.size(), actual.size()) << tensor.name;
    if (expected.size() != actual.size()) continue;
    double worst = 0.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const bool invisible = point.ends_with("attn.scores/0") && std::isinf(actual[i]);
      worst = std::max(worst, std::abs(static_cast<double>(invisible ? 0.0f : actual[i]) - expected[i]));
      if (std::isnan(actual[i])) worst = std::numeric_limits<double>::infinity();
    }
    EXPECT_LE(worst, tolerance(tensor.name)) << tensor.name << " against " << point;
    ++compared;
  }
  return compared;
}

}  // namespace spikescope::testing
