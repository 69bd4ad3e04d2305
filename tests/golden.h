// Comparing a pass with transformers' recorded tensors (shared fixtures), hook point by hook point.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>
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
  explicit Recorder(const TokenBatch& batch)
      : tokens_(static_cast<int64_t>(batch.ids.size())), prompts_(static_cast<int64_t>(batch.offsets.size()) - 1) {}

  Observer observer() {
    return [this](const Activation& a) {
      const bool square = a.point.kind().shape == PointShape::square;
      const int64_t rows = a.point.kind().per_prompt() ? prompts_ : tokens_;
      const std::string name = a.point.name() + (square ? "/" + std::to_string(a.first_row) : "");
      Tensor& tensor = tensors_[name];
      const int64_t size = a.values.row_size();
      if (tensor.values.empty()) {
        tensor.shape = a.values.shape;
        if (!square) tensor.shape[0] = rows;
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
  int64_t tokens_, prompts_;
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
      {"attn_add_norm", "ln1.out"},
      {"mlp_norm", "ln2.out"},
      {"mlp_add_norm", "ln2.out"},
      {"q", "attn.q"},
      {"k", "attn.k"},
      {"v", "attn.v"},
      {"q_normed", "attn.q_normed"},
      {"k_normed", "attn.k_normed"},
      {"q_rot", "attn.rot_q"},
      {"k_rot", "attn.rot_k"},
      {"scores", "attn.scores/0"},
      {"probs", "attn.pattern/0"},
      {"attn_ctx", "attn.z"},
      {"attn_out", "attn_out"},
      {"attn_post_norm", "ln1_post.out"},
      {"attn_scaled", "attn_scaled"},
      {"resid_mid", "resid_mid"},
      {"router_logits", "mlp.router_logits"},
      {"router_weights", "mlp.router_weights"},
      {"router_indices", "mlp.router_indices"},
      {"mlp_act", "mlp.post"},
      {"mlp_out", "mlp_out"},
      {"mlp_post_norm", "ln2_post.out"},
      {"mlp_scaled", "mlp_scaled"},
  };
  if (golden == "input_ids" || golden == "pixel_values" || golden.ends_with(".mask")) return "";
  if (golden == "final_norm") return "ln_final.out";
  for (const char* name : {"logits", "pooled", "embeds", "cls_logits", "distillation_logits"})
    if (golden == name) return name;
  if (golden.starts_with("hidden_states_")) {
    const int64_t layer = std::stoll(golden.substr(14));
    return layer < layers ? "blocks." + std::to_string(layer) + ".resid_pre"
                          : "blocks." + std::to_string(layers - 1) + ".resid_post";
  }
  const size_t dot = golden.find('.', 7);
  return "blocks." + golden.substr(7, dot - 7) + "." + kBlockPoints.at(golden.substr(dot + 1));
}

/// Values of a golden tensor as floats, whatever their type.
inline std::vector<float> golden_values(const TensorInfo& tensor) {
  if (tensor.format->safetensors != "I64") return read_tensor(tensor);
  const std::vector<int64_t> values = raw_values<int64_t>(tensor);
  return {values.begin(), values.end()};
}

/// Where transformers records something else than the hook points say; shapes are those of the golden tensor.
namespace quirks {

/// Interleaved pairs of the last `turned` channels of each head, half-split as transformers has them: actual is
/// [T, heads, size].
inline void half_split(std::vector<float>& actual, int64_t size, int64_t turned) {
  std::vector<float> pairs(static_cast<size_t>(turned));
  for (size_t head = 0; head < actual.size() / static_cast<size_t>(size); ++head) {
    float* channels = actual.data() + static_cast<int64_t>(head) * size + size - turned;
    std::copy_n(channels, turned, pairs.begin());
    for (int64_t i = 0; i < turned / 2; ++i) {
      channels[i] = pairs[static_cast<size_t>(2 * i)];
      channels[turned / 2 + i] = pairs[static_cast<size_t>(2 * i + 1)];
    }
  }
}

/// Repeats each of [T, heads / times, size].
inline void repeat_heads(std::vector<float>& actual, int64_t size, int64_t times) {
  std::vector<float> repeated;
  for (size_t head = 0; head < actual.size() / static_cast<size_t>(size); ++head)
    for (int64_t i = 0; i < times; ++i)
      repeated.insert(repeated.end(), actual.begin() + static_cast<int64_t>(head) * size,
                      actual.begin() + static_cast<int64_t>(head + 1) * size);
  actual = std::move(repeated);
}

/// ALiBi may differ by a constant for each query: rows [.., T] less their first value.
inline void less_first(std::vector<float>& scores, int64_t length) {
  for (size_t row = 0; row < scores.size() / static_cast<size_t>(length); ++row) {
    const float first = scores[row * static_cast<size_t>(length)];
    for (int64_t i = 0; i < length; ++i) scores[row * static_cast<size_t>(length) + static_cast<size_t>(i)] -= first;
  }
}

/// Rows of `size`, each ascending: the order of the chosen experts means nothing.
inline void sort_rows(std::vector<float>& values, int64_t size) {
  for (auto row = values.begin(); row != values.end(); row += size) std::sort(row, row + size);
}

}  // namespace quirks

/// Compares every golden tensor that `recorder` is expected to hold; `tolerance(name)` is the largest difference
/// allowed. Returns how many were compared.
template <class Tolerance>
int compare_with_golden(const TensorTable& golden, const Architecture& a, const Recorder& recorder, bool squares,
                        Tolerance tolerance) {
  int compared = 0;
  for (const TensorInfo& tensor : golden.tensors()) {
    if (tensor.name.starts_with("dequant.")) continue;
    const std::string point = point_of(tensor.name, a.n_layers);
    const bool is_square = point.ends_with("/0");
    if (point.empty() || (is_square && !squares)) continue;
    EXPECT_TRUE(recorder.has(point)) << tensor.name << " is recorded, but the pass has no " << point;
    if (!recorder.has(point)) continue;
    std::vector<float> expected = golden_values(tensor), actual = recorder.at(point).values;
    if (tensor.shape.size() == 3 && !is_square) expected = tokens_first(expected, tensor.shape);
    if (point.find(".rot_") != std::string::npos) {
      const bool split_later = a.family == "deepseek_v3";
      if (split_later) quirks::half_split(actual, a.head_dim, a.ropes[0].dims);
      if (expected.size() > actual.size()) quirks::repeat_heads(actual, a.head_dim, a.n_heads / a.n_kv_heads);
    }
    if (point.find(".router_w") != std::string::npos || point.find(".router_i") != std::string::npos) {
      quirks::sort_rows(expected, a.experts.per_token);
      quirks::sort_rows(actual, a.experts.per_token);
    }
    EXPECT_EQ(expected.size(), actual.size()) << tensor.name;
    if (expected.size() != actual.size()) continue;
    if (point.find(".scores") != std::string::npos) {
      if (!a.alibi_slopes.empty()) {
        quirks::less_first(expected, tensor.shape.back());
        quirks::less_first(actual, tensor.shape.back());
      }
      for (size_t i = 0; i < actual.size(); ++i)  // recorded as 0 where invisible
        if (std::isinf(actual[i])) expected[i] = actual[i] = 0.0f;
    }
    double worst = 0.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - expected[i]));
      if (std::isnan(actual[i])) worst = std::numeric_limits<double>::infinity();
    }
    EXPECT_LE(worst, tolerance(tensor.name)) << tensor.name << " against " << point;
    ++compared;
  }
  return compared;
}

/// Runs a model on the input of the golden tensors in `folder` and compares all of them with what the pass reports, at
/// the tolerances that the folder's meta.json states, but for those in `adapted`. `squares`: with hooks on scores and
/// pattern, by the attention that makes whole squares.
inline void expect_golden(const ModelWeights& weights, const std::filesystem::path& folder, bool squares,
                          const std::set<std::string>& adapted = {}) {
  SafetensorsFile golden = read_safetensors(folder / "golden.safetensors");
  const Json tolerances = read_json_file(folder / "meta.json").at("tolerances");
  TokenBatch batch;
  batch.ids = raw_values<int64_t>(golden.tensors.require("input_ids"));
  batch.offsets = {0, static_cast<int64_t>(batch.ids.size())};

  Recorder recorder(batch);
  Hooks hooks;
  for (const HookPoint& point : hook_points(weights.architecture()))
    if (squares || point.kind().shape != PointShape::square) hooks.observe(point.name(), recorder.observer());
  PassObserver none;
  run_model(weights, batch, hooks, none);

  TensorTable compared;
  int64_t expected = 0;
  for (const TensorInfo& tensor : golden.tensors.tensors()) {
    const std::string kind = tensor.name.substr(tensor.name.rfind('.') + 1);
    if (kind == "input_ids" || kind == "mask" || adapted.contains(kind)) continue;
    compared.add(tensor);
    if (squares || (kind != "scores" && kind != "probs")) ++expected;
  }
  const int count =
      compare_with_golden(compared, weights.architecture(), recorder, squares, [&](const std::string& name) {
        return tolerances.contains(name) ? tolerances.at(name).at("atol").get<double>() : 0.0;  // of integers
      });
  EXPECT_EQ(count, expected) << "all is compared but input_ids, masks and (without squares) scores and probs";
}

}  // namespace spikescope::testing
