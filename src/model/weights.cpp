#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <tuple>

#include "base/fail.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

/// Sizes that shapes are made of.
enum class Size : uint8_t { one, d, q, kv, width, vocabulary };

struct RoleKind {
  Role role;
  std::string_view name;
  bool per_block;
  Size rows, columns;  // columns `one`: a vector
};

// Indexed by Role.
constexpr std::array kRoles = {
    RoleKind{Role::token_embedding, "token_embedding", false, Size::vocabulary, Size::d},
    RoleKind{Role::ln1, "ln1", true, Size::d, Size::one},
    RoleKind{Role::ln1_bias, "ln1_bias", true, Size::d, Size::one},
    RoleKind{Role::w_q, "w_q", true, Size::q, Size::d},
    RoleKind{Role::b_q, "b_q", true, Size::q, Size::one},
    RoleKind{Role::w_k, "w_k", true, Size::kv, Size::d},
    RoleKind{Role::b_k, "b_k", true, Size::kv, Size::one},
    RoleKind{Role::w_v, "w_v", true, Size::kv, Size::d},
    RoleKind{Role::b_v, "b_v", true, Size::kv, Size::one},
    RoleKind{Role::w_o, "w_o", true, Size::d, Size::q},
    RoleKind{Role::b_o, "b_o", true, Size::d, Size::one},
    RoleKind{Role::ln2, "ln2", true, Size::d, Size::one},
    RoleKind{Role::ln2_bias, "ln2_bias", true, Size::d, Size::one},
    RoleKind{Role::w_gate, "w_gate", true, Size::width, Size::d},
    RoleKind{Role::b_gate, "b_gate", true, Size::width, Size::one},
    RoleKind{Role::w_up, "w_up", true, Size::width, Size::d},
    RoleKind{Role::b_up, "b_up", true, Size::width, Size::one},
    RoleKind{Role::w_down, "w_down", true, Size::d, Size::width},
    RoleKind{Role::b_down, "b_down", true, Size::d, Size::one},
    RoleKind{Role::ln_final, "ln_final", false, Size::d, Size::one},
    RoleKind{Role::ln_final_bias, "ln_final_bias", false, Size::d, Size::one},
    RoleKind{Role::unembedding, "unembedding", false, Size::vocabulary, Size::d},
};
static_assert(kRoles.size() == static_cast<size_t>(Role::unembedding) + 1);

const RoleKind& kind_of(Role role) { return kRoles[static_cast<size_t>(role)]; }

int64_t size_of(Size size, const Architecture& a) {
  switch (size) {
    case Size::one:
      return 1;
    case Size::d:
      return a.d_model;
    case Size::q:
      return a.n_heads * a.head_dim;
    case Size::kv:
      return a.n_kv_heads * a.head_dim;
    case Size::width:
      return a.mlp_width;
    case Size::vocabulary:
      return a.vocabulary;
  }
  return 0;
}

SPIKESCOPE_VECTORIZED
float non_finite_marker(const float* values, int64_t count) {
  float marker = 0.0f;
#pragma omp simd reduction(+ : marker)
  for (int64_t i = 0; i < count; ++i) marker += values[i] * 0.0f;
  return marker;  // 0, or NaN when a value is infinite or not a number
}

void check_finite(const float* values, int64_t count, int64_t columns, int64_t first_row, const TensorInfo& tensor) {
  if (non_finite_marker(values, count) == 0.0f) return;
  int64_t i = 0;
  while (std::isfinite(values[i])) ++i;
  fail(
      "{}: tensor '{}' holds {} at [{}, {}]; its weights must be finite (the file is damaged or the conversion "
      "overflowed)",
      tensor.file, tensor.name, values[i], first_row + i / columns, i % columns);
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// Row in the file of row `row`, where each head's rows stand as pairs (0, half), (1, half + 1), ...
int64_t interleaved_row(int64_t row, int64_t head_dim) {
  const int64_t half = head_dim / 2, in_head = row % head_dim;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

}  // namespace

std::span<const Role> all_roles() {
  static const auto roles = [] {
    std::array<Role, kRoles.size()> all{};
    std::transform(kRoles.begin(), kRoles.end(), all.begin(), [](const RoleKind& kind) { return kind.role; });
    return all;
  }();
  return roles;
}

std::string_view role_name(Role role) { return kind_of(role).name; }
bool is_per_block(Role role) { return kind_of(role).per_block; }

ModelWeights::ModelWeights(const TensorTable& tensors, const Architecture& architecture, Places places)
    : tensors_(tensors), architecture_(architecture), places_(std::move(places)) {
  for (const RoleKind& kind : kRoles)
    for (int layer = kind.per_block ? 0 : -1; layer < (kind.per_block ? architecture.n_layers : 0); ++layer)
      if (const WeightPlace place = places_(kind.role, layer); !place.tensor.empty()) check(place, kind.role, layer);
}

const TensorInfo& ModelWeights::check(const WeightPlace& place, Role role, int layer) const {
  const TensorInfo& tensor = tensors_.require(place.tensor);
  const RoleKind& kind = kind_of(role);
  std::vector<int64_t> expected = {size_of(kind.rows, architecture_)};
  if (kind.columns != Size::one) expected.push_back(size_of(kind.columns, architecture_));
  if (tensor.shape != expected)
    fail("{}: tensor '{}' has shape {}, but the config asks for {} ({})", tensor.file, tensor.name,
         shape_text(tensor.shape), shape_text(expected), kind.name);
  if (!tensor.format->dequantize)
    fail("{}: tensor '{}' is stored as {}, which is not supported; use a file in F16, BF16, F32, Q8_0 or a K-quant",
         tensor.file, tensor.name, tensor.format->name);
  return tensor;
}

bool ModelWeights::has(Role role, int layer) const { return !places_(role, layer).tensor.empty(); }

const TensorInfo* ModelWeights::tensor(Role role, int layer) const {
  const std::string name = tensor_name(role, layer);
  return name.empty() ? nullptr : &tensors_.require(name);
}

std::pair<int64_t, int64_t> ModelWeights::shape(Role role) const {
  return {size_of(kind_of(role).rows, architecture_), size_of(kind_of(role).columns, architecture_)};
}

Weight ModelWeights::read(Role role, int layer) const {
  const WeightPlace place = places_(role, layer);
  Weight weight;
  if (place.tensor.empty()) return weight;
  std::tie(weight.rows, weight.columns) = shape(role);
  weight.values.resize(static_cast<size_t>(weight.rows * weight.columns));
  read_rows(role, layer, 0, weight.rows, weight.values.data());
  return weight;
}

void ModelWeights::read_rows(Role role, int layer, int64_t first, int64_t count, float* out) const {
  const WeightPlace place = places_(role, layer);
  if (place.tensor.empty()) fail("the model has no {} in layer {}", role_name(role), layer);
  const TensorInfo& tensor = tensors_.require(place.tensor);
  const int64_t columns = size_of(kind_of(role).columns, architecture_);
  if (place.unpermute_heads == 0) {
    spikescope::read_rows(tensor, first, count, out);
    check_finite(out, count * columns, columns, first, tensor);
    return;
  }
  const int64_t head_dim = tensor.shape[0] / place.unpermute_heads;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t source = interleaved_row(first + row, head_dim);
    spikescope::read_rows(tensor, source, 1, out + row * columns);
    check_finite(out + row * columns, columns, columns, source, tensor);
  }
}

}  // namespace spikescope
