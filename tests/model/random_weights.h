// Weights for an architecture without a checkpoint: one tensor in memory for each, with random values.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/weights.h"

namespace spikescope::testing {

class RandomWeights {
 public:
  /// `architecture` must outlive it. `change`: of each value.
  explicit RandomWeights(const Architecture& architecture,
                         const std::function<float(const WeightKey&, float)>& change = {}) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0.0f, 0.5f);
    for (const WeightKey& key : weight_keys(architecture)) {
      const auto [rows, columns] = role_shape(architecture, key.role);
      std::vector<float>& values = *values_.emplace_back(std::make_unique<std::vector<float>>());
      values.resize(static_cast<size_t>(rows * columns));
      for (float& value : values) {
        value = normal(random);
        if (change) value = change(key, value);
      }
      std::vector<int64_t> shape = {rows};
      if (columns > 1) shape.push_back(columns);
      table_.add({name_of(key), shape, find_safetensors_format("F32"), std::as_bytes(std::span(values)), "memory"});
    }
    weights_ = std::make_unique<ModelWeights>(table_, architecture,
                                              [](const WeightKey& key) { return WeightPlace{name_of(key)}; });
  }
  const ModelWeights& weights() const { return *weights_; }
  std::vector<float> values(const WeightKey& key) const { return read_tensor(table_.require(name_of(key))); }
  /// W x, in double.
  std::vector<double> product(const WeightKey& key, const std::vector<double>& x) const {
    const std::vector<float> w = values(key);
    std::vector<double> out(w.size() / x.size());
    for (size_t row = 0; row < out.size(); ++row)
      for (size_t i = 0; i < x.size(); ++i) out[row] += static_cast<double>(w[row * x.size() + i]) * x[i];
    return out;
  }

 private:
  static std::string name_of(const WeightKey& key) {
    return std::string(role_name(key.role)) + "." + std::to_string(key.layer) + "." + std::to_string(key.expert);
  }
  std::vector<std::unique_ptr<std::vector<float>>> values_;
  TensorTable table_;
  std::unique_ptr<ModelWeights> weights_;
};

}  // namespace spikescope::testing
