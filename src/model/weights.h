// The model's weights by role. Values stay in the mapped checkpoint until they are read; a block is converted to
// float32 when the pass reaches it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/tensor_table.h"
#include "model/roles.h"

namespace spikescope {

/// A matrix [rows, columns], or a vector with columns = 1, in float32.
struct Weight {
  std::vector<float> values;
  int64_t rows = 0, columns = 0;
  explicit operator bool() const { return !values.empty(); }
};

/// Where a weight's values lie, and what has to be done to them on reading.
struct WeightPlace {
  std::string tensor;
  /// The tensor's shape where it is not the weight's own: it holds several weights, or has dimensions of 1.
  std::vector<int64_t> shape = {};
  bool transposed = false;  ///< the tensor is [in, out]
  /// The weight's rows are runs of `run` of the tensor's rows (all leading dimensions taken together), from `first` on,
  /// `stride` apart. run 0: a single run.
  int64_t first = 0, run = 0, stride = 0;
  /// > 0: rows of each of so many heads are interleaved pairs (GGUF llama q, k); bring them to half-split.
  int64_t unpermute_heads = 0;
};

class ModelWeights {
 public:
  /// `place` tells where each weight that the architecture has lies. Checks that every tensor is there with the right
  /// shape. Throws Error naming file, tensor, shape expected and found.
  ModelWeights(const TensorTable& tensors, const Architecture& architecture,
               const std::function<WeightPlace(const WeightKey&)>& place);

  bool has(Role role, int layer = -1) const { return has_role(architecture_, role, layer); }
  /// The tensor that holds a weight the model has. Several may lie in one.
  const TensorInfo& tensor(const WeightKey& key) const { return *placed(key).tensor; }
  /// Rows and columns of a role's weight (columns 1: a vector), whether the model has one or not.
  std::pair<int64_t, int64_t> shape(Role role) const { return role_shape(architecture_, role); }
  /// The whole weight; an empty Weight where the model has none. Throws Error for non-finite values, naming tensor and
  /// index.
  Weight read(Role role, int layer = -1) const;
  /// Rows [first, first + count) of a weight that the model has, with the same check.
  void read_rows(const WeightKey& key, int64_t first, int64_t count, float* out) const;
  /// How the weight lies in its tensor.
  const WeightPlace& place(const WeightKey& key) const { return placed(key).place; }
  /// From now on the weight is read from `tensor`, where it lies as `place` says; with the same checks. `tensor` must
  /// outlive these weights.
  void replace(const WeightKey& key, const TensorInfo& tensor, WeightPlace place);
  const Architecture& architecture() const { return architecture_; }
  const TensorTable& tensors() const { return tensors_; }

 private:
  struct Placed {
    const TensorInfo* tensor;
    TensorInfo rows;  ///< the same as a matrix
    WeightPlace place;
  };
  const Placed& placed(const WeightKey& key) const;
  Placed check(const TensorInfo& tensor, WeightPlace place, const WeightKey& key) const;
  void read_run(const Placed& placed, int64_t first, int64_t count, int64_t columns, float* out) const;

  const TensorTable& tensors_;
  const Architecture& architecture_;
  std::unordered_map<int64_t, Placed> placed_;
};

}  // namespace spikescope
