// Linear layers in whole numbers of 8 bits: inputs are brought to a grid of at most 256 points, multiplied with weights
// of whole numbers by LibTorch's quantized kernels (torch/torch_backend.h), and the sums, which are exact, are scaled.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/gemm.h"

// Of torch/torch_backend.h.
extern "C" {
struct SpikescopeInt8Kernel;
struct SpikescopeInt8Weight;
}

namespace spikescope {

/// How the inputs of a linear layer become whole numbers: the nearest q in [lowest, highest], ties to even;
/// value = (q - zero) * scale.
struct Int8Inputs {
  enum class Scale : uint8_t {
    none,   ///< they do not: the layer is computed in floats
    fixed,  ///< `scale` for all
    row,    ///< each row's own, which puts its largest magnitude half a step beyond `highest`
  };
  Scale kind = Scale::none;
  float scale = 1.0f;  ///< > 0
  int zero = 128;
  int lowest = 0, highest = 255;  ///< within [0, 255]

  bool whole() const { return kind != Scale::none; }
};
/// The inputs of a block's linear layers.
struct BlockInt8Inputs {
  Int8Inputs attn_in, o_in, mlp_in, down_in;
};

/// A weight [out, in] as the kernel at work wants it.
class Int8Weight {
 public:
  /// `values` is [out, in], `scales` [out]: what each output's sum is multiplied with.
  void reset(std::span<const int8_t> values, std::span<const float> scales);
  /// out[r, o] = scale[o] * sum over i of (rows[r, i] - zero) * value[o, i], with `rows` [out.rows, in]. On the calling
  /// thread inside a parallel region, on LibTorch's threads outside.
  void multiply(const uint8_t* rows, int zero, MatrixView out) const;

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }

 private:
  const SpikescopeInt8Kernel* kernel_ = nullptr;
  std::shared_ptr<SpikescopeInt8Weight> prepared_;
  int64_t in_ = 0, out_ = 0;
};

/// A linear layer without its bias.
class Int8Product {
 public:
  /// `inputs` are whole; `values` is [out, in], `scales` [out], those of the weights.
  void reset(const Int8Inputs& inputs, std::span<const int8_t> values, std::span<const float> scales);
  /// out = x W^T of the rounded x. A row of `out` depends on its row of x alone.
  void operator()(ConstMatrixView x, MatrixView out) const;

  int64_t in() const { return weight_.in(); }
  int64_t out() const { return weight_.out(); }

 private:
  Int8Inputs inputs_;
  Int8Weight weight_;
};

/// The whole numbers of a row of inputs; returns the scale.
float to_int8(const float* values, int64_t count, const Int8Inputs& inputs, uint8_t* out);

/// Kernels for this that LibTorch has here, the best first: "onednn", "fbgemm".
std::vector<std::string> int8_kernels();
/// All int8 products from now on are computed by this kernel; empty: by what the environment's SPIKESCOPE_INT8 names,
/// else by the best. Throws Error where there is no such, or none at all. Weights prepared before keep theirs.
void choose_int8_kernel(const std::string& name = "");
/// The one at work, with what it is of: "onednn (quantized::linear_dynamic of LibTorch 1.13.1)".
std::string int8_kernel();

/// Largest error of a product [rows, inner] x [inner, columns] with inputs of so many bits against whole numbers, over
/// what rounding its sums to float32 explains: above 1 where a kernel adds in too few bits.
double int8_error(int input_bits, int64_t rows = 20, int64_t inner = 200, int64_t columns = 40);
/// Throws Error where the kernel at work gives wrong sums. Processors without VNNI add pairs of products in 16 bits, in
/// which inputs of 8 bits overflow; those of 7 do not.
void check_int8_products(int input_bits);

}  // namespace spikescope
