// The model's weights by role. Values stay in the mapped checkpoint until they are read; a block is converted to
// float32 when the pass reaches it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tensor_table.h"
#include "model/architecture.h"

namespace spikescope {

/// What a weight is for. Linear layers are [out, in]: y = W x + b.
enum class Role : uint8_t {
  token_embedding,  ///< [vocabulary, d]
  ln1,
  ln1_bias,  ///< norm that feeds attention: gain and bias [d]
  w_q,
  b_q,  ///< [heads * head_dim, d], Hugging Face's order of rows (half-split RoPE)
  w_k,
  b_k,
  w_v,
  b_v,  ///< [kv heads * head_dim, d]
  w_o,
  b_o,  ///< [d, heads * head_dim]
  ln2,
  ln2_bias,
  w_gate,
  b_gate,
  w_up,
  b_up,  ///< [width, d]
  w_down,
  b_down,  ///< [d, width]
  ln_final,
  ln_final_bias,
  unembedding,  ///< [vocabulary, d]
};

/// Every role there is.
std::span<const Role> all_roles();
/// What a role is called in messages: "w_q", "ln1".
std::string_view role_name(Role role);
/// Whether there is one such weight a block (else one a model).
bool is_per_block(Role role);

/// A matrix [rows, columns], or a vector with columns = 1, in float32.
struct Weight {
  std::vector<float> values;
  int64_t rows = 0, columns = 0;
  explicit operator bool() const { return !values.empty(); }
};

/// Where a role's values lie, and what has to be done to them on reading.
struct WeightPlace {
  std::string tensor;
  /// > 0: rows of each of so many heads are interleaved pairs (GGUF llama q, k); bring them to half-split.
  int64_t unpermute_heads = 0;
};

class ModelWeights {
 public:
  /// `places` gives a role's place (layer -1 outside blocks), or an empty tensor name where the model has no such
  /// weight.
  using Places = std::function<WeightPlace(Role, int layer)>;
  /// Checks that every tensor is there with the right shape. Throws Error naming file, tensor, shape expected and
  /// found.
  ModelWeights(const TensorTable& tensors, const Architecture& architecture, Places places);

  bool has(Role role, int layer = -1) const;
  /// Name of the tensor that holds it; empty where the model has none.
  std::string tensor_name(Role role, int layer = -1) const { return places_(role, layer).tensor; }
  /// The tensor itself; null where the model has none.
  const TensorInfo* tensor(Role role, int layer = -1) const;
  /// Rows and columns of a role's weight (columns 1: a vector), whether the model has one or not.
  std::pair<int64_t, int64_t> shape(Role role) const;
  /// The whole weight; an empty Weight where the model has none. Throws Error for non-finite values, naming tensor and
  /// index.
  Weight read(Role role, int layer = -1) const;
  /// Rows [first, first + count) of a weight that the model has, with the same check.
  void read_rows(Role role, int layer, int64_t first, int64_t count, float* out) const;
  const Architecture& architecture() const { return architecture_; }
  const TensorTable& tensors() const { return tensors_; }

 private:
  const TensorInfo& check(const WeightPlace& place, Role role, int layer) const;

  const TensorTable& tensors_;
  const Architecture& architecture_;
  Places places_;
};

}  // namespace spikescope
