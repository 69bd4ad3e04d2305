#include "model/linear.h"

#include <algorithm>

#include "base/parallel.h"
#include "model/rows.h"

namespace spikescope {

void Linear::load(const ModelWeights& weights, std::span<const WeightKey> keys, std::span<const WeightKey> biases) {
  int most_bits = 0;
  for (const WeightKey& key : keys) most_bits = std::max(most_bits, weights.tensor(key).format->mantissa_bits);
  // The values may have fewer bits than their format could hold, and are then fewer bytes to multiply with: so it was
  // in the layer before.
  const int bits = std::min(most_bits, bits_before_);
  load(weights, keys, bits);
  bits_before_ = weight_.mantissa_bits();
  if (!weight_.fits()) load(weights, keys, bits_before_ = kFloatBits);
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
