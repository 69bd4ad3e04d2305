#include "model/linear.h"

#include <algorithm>
#include <cstdlib>

#include "base/fail.h"
#include "base/parallel.h"
#include "io/quantized_tensor.h"
#include "model/rows.h"

namespace spikescope {
namespace {

/// What a row's whole numbers are multiplied with to give its values, to the bit or one unit in the last place beside
/// it.
float scale_of_row(const int8_t* numbers, const float* values, int64_t columns) {
  int64_t largest = 0;
  for (int64_t i = 1; i < columns; ++i)
    if (std::abs(numbers[i]) > std::abs(numbers[largest])) largest = i;
  return numbers[largest] == 0 ? 1.0f : values[largest] / static_cast<float>(numbers[largest]);
}

/// All rows of a weight as the whole numbers that they are stored as, [rows, columns], and the scale of each.
void read_integers(const ModelWeights& weights, const WeightKey& key, int8_t* values, float* scales) {
  const TensorInfo& tensor = weights.tensor(key);
  const WeightPlace& place = weights.place(key);
  const QuantizedValues* stored = tensor.quantized.get();
  if (!stored || !stored->format().symmetric || stored->format().scope == WeightFormat::Scope::group ||
      place.transposed || place.unpermute_heads > 0)
    fail_usage(
        "{}: tensor '{}' ({}) has {}; products of whole numbers need weights of 8 bits or fewer, symmetric, with one "
        "scale a row or tensor: quantize with --bits-weight 8 --group channel",
        tensor.file, tensor.name, role_name(key.role),
        stored ? stored->format().text() : fmt::format("values of {}", tensor.format->name));
  const auto [rows, columns] = weights.shape(key.role);
  parallel_for(rows, [&, columns = columns](int64_t row) {
    thread_local std::vector<float> floats;
    floats.resize(static_cast<size_t>(columns));
    stored->read_integers(place.first + row / place.run * place.stride + row % place.run, 0, columns,
                          values + row * columns);
    weights.read_rows(key, row, 1, floats.data());
    scales[row] = scale_of_row(values + row * columns, floats.data(), columns);
  });
}

}  // namespace

void Linear::load(const ModelWeights& weights, std::span<const WeightKey> keys, std::span<const WeightKey> biases,
                  const Int8Inputs& int8) {
  if (int8.whole()) {
    load_int8(weights, keys, int8);
  } else {
    int8_.reset();
    load_weight(weights, keys);
  }
  bias_.clear();
  if (std::none_of(biases.begin(), biases.end(),
                   [&](const WeightKey& key) { return weights.has(key.role, key.layer); }))
    return;
  for (const WeightKey& key : biases) {
    const Weight bias = weights.read(key.role, key.layer);
    bias_.insert(bias_.end(), bias.values.begin(), bias.values.end());
    if (!bias) bias_.resize(bias_.size() + static_cast<size_t>(weights.shape(key.role).first), 0.0f);
  }
}

void Linear::load_weight(const ModelWeights& weights, std::span<const WeightKey> keys) {
  int most_bits = 0;
  for (const WeightKey& key : keys) most_bits = std::max(most_bits, weights.tensor(key).format->mantissa_bits);
  // The values may have fewer bits than their format could hold, and are then fewer bytes to multiply with: so it was
  // in the layer before.
  const int bits = std::min(most_bits, bits_before_);
  load(weights, keys, bits);
  bits_before_ = weight_.mantissa_bits();
  if (!weight_.fits()) load(weights, keys, bits_before_ = kFloatBits);
}

void Linear::load_int8(const ModelWeights& weights, std::span<const WeightKey> keys, const Int8Inputs& int8) {
  int64_t out = 0, first = 0;
  for (const WeightKey& key : keys) out += weights.shape(key.role).first;
  const int64_t in = weights.shape(keys[0].role).second;
  std::vector<int8_t> values(static_cast<size_t>(out * in));
  std::vector<float> scales(static_cast<size_t>(out));
  for (const WeightKey& key : keys) {
    const int64_t rows = weights.shape(key.role).first;
    read_integers(weights, key, values.data() + first * in, scales.data() + first);
    first += rows;
  }
  int8_.emplace().reset(int8, values, scales);
}

void Linear::load(const ModelWeights& weights, std::span<const WeightKey> keys, int mantissa_bits) {
  int64_t out = 0, first = 0;
  for (const WeightKey& key : keys) out += weights.shape(key.role).first;
  const int64_t in = weights.shape(keys[0].role).second;
  weight_.reset(in, out, mantissa_bits);
  for (const WeightKey& key : keys) {
    const int64_t rows = weights.shape(key.role).first;
    constexpr int64_t kRows = 32;
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t piece) {
      const int64_t begin = piece * kRows, count = std::min(kRows, rows - begin);
      thread_local std::vector<float> values;
      values.resize(static_cast<size_t>(count * in));
      weights.read_rows(key, begin, count, values.data());
      weight_.set_columns(first + begin, {values.data(), count, in, in});
    });
    first += rows;
  }
}

void Linear::operator()(ConstMatrixView x, MatrixView out) const {
  if (int8_)
    (*int8_)(x, out);
  else
    product_on_all_threads(x, weight_, out);
  if (!bias_.empty()) add_to_rows(bias_.data(), out);
}

void Linear::columns(const LeftSide& x, int64_t first, MatrixView out) const {
  product_part(x, weight_, 0, first, out);
  if (!bias_.empty()) add_to_rows(bias_.data() + first, out);
}

void Linear::add_inner(const LeftSide& x, int64_t first, MatrixView out, bool begin, bool end) const {
  product_part(x, weight_, first, 0, out, !begin);
  if (end && !bias_.empty()) add_to_rows(bias_.data(), out);
}

}  // namespace spikescope
