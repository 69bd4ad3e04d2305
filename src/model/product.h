// Products whose right side is used again and again: a layer's weights, a head's keys and values. The right side is
// brought once into the order in which the processor reads it; after that a product is one call on the calling thread,
// and who has many rows deals them out to threads (base/parallel.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "model/gemm.h"

namespace spikescope {

/// The right side of products, [inner, columns], in panels of some columns each.
class Panels {
 public:
  /// Room for [inner, columns]; what was there is lost.
  void reset(int64_t inner, int64_t columns);
  /// Columns [first, first + rows.rows) from the rows of a matrix [.., inner], e.g. a linear layer's weight [out, in].
  /// Several threads may set different columns.
  void set_columns(int64_t first, ConstMatrixView rows);
  /// Rows [first, first + rows.rows) of the right side itself.
  void set_rows(int64_t first, ConstMatrixView rows);

  int64_t inner() const { return inner_; }
  int64_t columns() const { return columns_; }
  /// `columns` and as many more as a product makes along with them; it may have them, with 0 for those that are not
  /// there.
  int64_t whole_columns(int64_t columns) const {
    return width_ == columns_ ? columns : (columns + width_ - 1) / width_ * width_;
  }

 private:
  friend void product(ConstMatrixView a, const Panels& b, MatrixView out);
  float* panel(int64_t index) { return values_.data() + index * inner_ * width_; }
  const float* panel(int64_t index) const { return values_.data() + index * inner_ * width_; }

  Buffer values_;  // [panels, inner, width]; columns beyond the last are 0
  int64_t inner_ = 0, columns_ = 0, width_ = 0;
};

/// out = a b: [m, k] x [k, n] -> [m, n], with the first k = a.columns rows and n = out.columns columns of `b`. Runs on
/// the calling thread. A value of `out` depends on its row of `a` alone, to the bit, not on what other rows there are.
void product(ConstMatrixView a, const Panels& b, MatrixView out);

/// What computes products: "AVX-512", "AVX2", or "BLAS" (LibTorch's), the best that the processor has. The
/// environment's SPIKESCOPE_KERNEL (avx512, avx2, blas) overrules it; Error when it asks for what the processor lacks.
std::string product_kernel();
/// The same for tests and benchmarks, by the names of SPIKESCOPE_KERNEL. Panels set before are of no use after it.
void choose_product_kernel(const std::string& name);
/// Names that choose_product_kernel takes on this machine.
std::vector<std::string> product_kernels();

/// Most rows of a piece of for_row_pieces.
constexpr int64_t kRowsAPiece = 56;
/// Calls work(first, count) for pieces that together are rows [0, rows), on all threads: few enough rows for all
/// threads to get some, enough for efficient products.
void for_row_pieces(int64_t rows, const std::function<void(int64_t first, int64_t count)>& work);

/// Largest error of one product of about the size of a layer's, against float64, over what float32 rounding explains:
/// below 1 on a sound machine. Takes some milliseconds.
double product_error();
/// Throws Error, with the remedy, when products are wrong: some builds of OpenBLAS are, on processors newer than they.
void check_products();

}  // namespace spikescope
