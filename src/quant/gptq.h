// GPTQ (Frantar et al. 2023, arXiv 2210.17323): weights are rounded one input after the other, and what an input's
// rounding does to the layer's outputs is made good, as far as possible, by the inputs that are still to come.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/weight_quantizer.h"

namespace spikescope {

/// What a linear layer reads: the sum of x x^T over its inputs x, [size, size].
class InputMoments {
 public:
  explicit InputMoments(int64_t size);
  /// Adds rows [n, size] of inputs. Products of up to 2,048 rows are summed in float32, these in double. On all
  /// threads.
  void add(ConstMatrixView rows);
  int64_t size() const { return size_; }
  int64_t rows() const { return rows_; }
  double at(int64_t i, int64_t j) const { return sum_[static_cast<size_t>(i >= j ? i * size_ + j : j * size_ + i)]; }

 private:
  int64_t size_, rows_ = 0;
  std::vector<double> sum_;  // the lower triangle counts
  std::vector<float> transposed_, product_;
};

struct GptqOptions {
  double damping = 0.01;  ///< of the mean of H's diagonal, added to it
  /// Inputs in the order of their moments, the largest first, with scales chosen beforehand. Groups stay runs of
  /// columns, so readers need not know.
  bool act_order = false;
};

/// U, upper triangular, with inverse(H) = U^T U (the Cholesky factor that GPTQ's Algorithm 1 takes its rows from), of H
/// = 2 sum x x^T with damping, rows and columns in `order`. [size, size], in double. Inputs that are always 0 count as
/// if they did not bear on others. Throws Error where H has no such factor.
std::vector<double> inverse_factor(const InputMoments& moments, double damping, const std::vector<int64_t>& order);

/// Rounds `weights` [out, size]. A group's scale is chosen when its first column's turn comes, of the weights as they
/// are then (with act_order, and for scales of whole rows or matrices, of those given). On all threads; the same on any
/// number of them.
QuantizedMatrix gptq(ConstMatrixView weights, const InputMoments& moments, const Rounding& rounding,
                     const GptqOptions& options = {});

/// Error of the layer's outputs, sum over inputs x of |(W - Q) x|^2 over that of |W x|^2, by the moments.
double output_error(ConstMatrixView weights, const QuantizedMatrix& matrix, const WeightFormat& format,
                    const InputMoments& moments);

}  // namespace spikescope
