#include "model/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

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

int64_t index_of(const WeightKey& key) {
  return (static_cast<int64_t>(key.role) << 48) + (static_cast<int64_t>(key.layer + 1) << 24) + (key.expert + 1);
}

}  // namespace

ModelWeights::ModelWeights(const TensorTable& tensors, const Architecture& architecture,
                           const std::function<WeightPlace(const WeightKey&)>& place)
    : tensors_(tensors), architecture_(architecture) {
  // Block by block: a config may ask for far more experts than there are tensors.
  for (int layer = -1; layer < architecture.n_layers; ++layer)
    for (const WeightKey& key : weight_keys(architecture, layer)) {
      WeightPlace where = place(key);
      const TensorInfo& tensor = tensors.require(where.tensor);
      placed_.emplace(index_of(key), check(tensor, std::move(where), key));
    }
}

void ModelWeights::replace(const WeightKey& key, const TensorInfo& tensor, WeightPlace place) {
  placed(key);  // there has to be one
  placed_.insert_or_assign(index_of(key), check(tensor, std::move(place), key));
}

ModelWeights::Placed ModelWeights::check(const TensorInfo& tensor, WeightPlace place, const WeightKey& key) const {
  const auto [rows, columns] = shape(key.role);
  std::vector<int64_t> expected = place.shape;
  if (expected.empty()) {
    expected = {rows, columns};
    if (place.transposed) std::swap(expected[0], expected[1]);
    if (columns == 1) expected.pop_back();
  }
  // Dimensions of 1 say nothing: a token is [1, 1, d] in some checkpoints, a factor [] or [1].
  const auto plain = [](std::vector<int64_t> sizes) {
    std::erase(sizes, 1);
    return sizes;
  };
  if (plain(tensor.shape) != plain(expected))
    fail("{}: tensor '{}' has shape {}, but the config asks for {} ({})", tensor.file, tensor.name,
         shape_text(tensor.shape), shape_text(expected), role_name(key.role));
  if (!tensor.readable())
    fail("{}: tensor '{}' is stored as {}, which is not supported; use a file in F16, BF16, F32, Q8_0 or a K-quant",
         tensor.file, tensor.name, tensor.format->name);
  if (place.transposed && tensor.format->block_values != 1)
    fail("{}: tensor '{}' is stored as {} with its columns as rows, which cannot be read; convert it to F16 or F32",
         tensor.file, tensor.name, tensor.format->name);
  TensorInfo matrix = tensor;
  const int64_t file_columns = place.transposed ? tensor.shape.back() : columns;
  matrix.shape = {tensor.values() / file_columns, file_columns};
  if (place.run == 0) place.run = place.stride = rows;
  return {&tensor, std::move(matrix), std::move(place)};
}

const ModelWeights::Placed& ModelWeights::placed(const WeightKey& key) const {
  const auto found = placed_.find(index_of(key));
  if (found == placed_.end()) fail("the model has no weight {} in block {}", role_name(key.role), key.layer);
  return found->second;
}

Weight ModelWeights::read(Role role, int layer) const {
  if (!has(role, layer)) return {};
  Weight weight;
  std::tie(weight.rows, weight.columns) = shape(role);
  weight.values.resize(static_cast<size_t>(weight.rows * weight.columns));
  read_rows({role, layer}, 0, weight.rows, weight.values.data());
  return weight;
}

void ModelWeights::read_rows(const WeightKey& key, int64_t first, int64_t count, float* out) const {
  const Placed& placed = this->placed(key);
  const int64_t columns = shape(key.role).second;
  const WeightPlace& place = placed.place;
  const auto in_file = [&](int64_t row) { return place.first + row / place.run * place.stride + row % place.run; };
  const int64_t head_dim = place.unpermute_heads > 0 ? shape(key.role).first / place.unpermute_heads : 0;
  for (int64_t row = first; row < first + count;) {
    // Rows that stand together in the file.
    const int64_t here = head_dim > 0 ? 1 : std::min(place.run - row % place.run, first + count - row);
    read_run(placed, in_file(head_dim > 0 ? interleaved_row(row, head_dim) : row), here, columns,
             out + (row - first) * columns);
    row += here;
  }
}

void ModelWeights::read_run(const Placed& placed, int64_t first, int64_t count, int64_t columns, float* out) const {
  if (!placed.place.transposed) {
    spikescope::read_rows(placed.rows, first, count, out);
    check_finite(out, count * columns, columns, first, placed.rows);
    return;
  }
  thread_local std::vector<float> strip;
  strip.resize(static_cast<size_t>(count));
  for (int64_t column = 0; column < columns; ++column) {
    read_values(placed.rows, column * placed.rows.row_size() + first, count, strip.data());
    check_finite(strip.data(), count, count, column, placed.rows);
    for (int64_t row = 0; row < count; ++row) out[row * columns + column] = strip[static_cast<size_t>(row)];
  }
}

}  // namespace spikescope
