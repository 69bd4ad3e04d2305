// Linear layers as products want them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "model/int8_product.h"
#include "model/product.h"
#include "model/weights.h"

namespace spikescope {

/// A linear layer, y = W x + b; or several that read the same input, one below the other.
class Linear {
 public:
  /// Converts these weights (and their biases, where the model has them), on all threads; their memory is kept from
  /// layer to layer. Throws Error as ModelWeights::read_rows does. With `int8` that is whole, the layer rounds its
  /// inputs so and multiplies in whole numbers. Throws UsageError then for weights that are not quantized to 8 bits or
  /// fewer, symmetric, with a scale a row or tensor.
  void load(const ModelWeights& weights, std::span<const WeightKey> keys, std::span<const WeightKey> biases = {},
            const Int8Inputs& int8 = {});
  /// out = x W^T + b; on the calling thread inside a parallel region, on all threads outside.
  void operator()(ConstMatrixView x, MatrixView out) const;

  /// Whether it multiplies in whole numbers: then the two below cannot be called.
  bool in_int8() const { return int8_.has_value(); }
  /// The outputs from `first` on, as many as `out` has columns; `first` is a multiple of 32. On the calling thread.
  void columns(const LeftSide& x, int64_t first, MatrixView out) const;
  /// Adds to `out` what the inputs from `first` on give, which are all of `x`; `first` is a multiple of 32. `begin`:
  /// sets it to that; `end`: adds the bias as well. On the calling thread.
  void add_inner(const LeftSide& x, int64_t first, MatrixView out, bool begin, bool end) const;

  int64_t out() const { return int8_ ? int8_->out() : weight_.columns(); }
  int64_t in() const { return int8_ ? int8_->in() : weight_.inner(); }
  /// Of the product, a row.
  double flops() const { return 2.0 * static_cast<double>(in() * out()); }

 private:
  void load_weight(const ModelWeights& weights, std::span<const WeightKey> keys);
  void load_int8(const ModelWeights& weights, std::span<const WeightKey> keys, const Int8Inputs& int8);
  void load(const ModelWeights& weights, std::span<const WeightKey> keys, int mantissa_bits);

  Panels weight_;
  std::optional<Int8Product> int8_;  // in its place
  int bits_before_ = kFloatBits;     // of the mantissas of the weights loaded before
  std::vector<float> bias_;          // empty: none
};

}  // namespace spikescope
