// Products whose right side is used again and again: a layer's weights, a head's keys and values. The right side is
// brought once into the order in which the processor reads it; after that a product is one call on the calling thread,
// and who has many rows deals them out to threads (base/parallel.h).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "model/gemm.h"

namespace spikescope {

/// Precision of products. bfloat16: both sides are rounded to bfloat16 (8 bits of mantissa), sums are float32.
enum class Dtype : uint8_t { float32, bfloat16 };
/// "float32", "bfloat16".
std::string_view dtype_name(Dtype dtype);

constexpr int kFloatBits = 24;  ///< of a float's mantissa, with the leading one
constexpr int kPartBits = 8;    ///< of a bfloat16 value's

class LeftSide;

/// The right side of products, [inner, columns], in panels of some columns each.
class Panels {
 public:
  /// Room for [inner, columns] of values that have so many bits of mantissa; what was there is lost.
  void reset(int64_t inner, int64_t columns, int mantissa_bits = kFloatBits);
  /// Of the values set, rounded up to what makes a difference to the kernel.
  int mantissa_bits() const { return parts_needed_ * kPartBits; }
  /// Whether there was room for all of their bits; else the panels are of no use.
  bool fits() const { return parts_needed_ <= parts_; }
  /// Columns [first, first + rows.rows) from the rows of a matrix [.., inner], e.g. a linear layer's weight [out, in].
  /// Several threads may set different columns.
  void set_columns(int64_t first, ConstMatrixView rows);
  /// All rows of the right side, [inner, columns].
  void set_rows(ConstMatrixView rows);

  /// What `values` values take in memory.
  static int64_t bytes(int64_t values, int mantissa_bits = kFloatBits);

  int64_t inner() const { return inner_; }
  int64_t columns() const { return columns_; }
  /// `columns` and as many more as a product makes along with them; it may have them, with 0 for those that are not
  /// there.
  int64_t whole_columns(int64_t columns) const {
    return width_ == columns_ ? columns : (columns + width_ - 1) / width_ * width_;
  }

 private:
  friend void product_part(ConstMatrixView a, const Panels& b, int64_t first_inner, int64_t first_column,
                           MatrixView out, bool add);
  friend void product_part(const LeftSide& a, const Panels& b, int64_t first_inner, int64_t first_column,
                           MatrixView out, bool add);
  void multiply(const float* left, int64_t left_stride, int64_t first_inner, int64_t inner, int64_t first_column,
                const MatrixView& out, bool add) const;
  void multiply_by_blas(ConstMatrixView left, int64_t first_inner, int64_t first_column, const MatrixView& out,
                        bool add) const;
  void set_row_pairs(ConstMatrixView rows, int64_t first_column);
  void note_parts(ConstMatrixView words);
  int64_t panel_words() const { return inner_words_ * parts_ * width_; }
  const float* panel(int64_t index) const { return words_.data() + index * panel_words(); }
  float* word(int64_t index, int part, int64_t column);

  // [panels, steps, parts, tiles, words of a step, columns of a tile] (model/kernels.h); 0 beyond the last column and
  // inner value.
  Buffer words_;
  int parts_ = 1;
  int parts_needed_ = 1;  // the others are 0 throughout
  int64_t inner_ = 0, inner_words_ = 0, columns_ = 0, width_ = 0;
  int64_t step_words_ = 1, tile_columns_ = 0;
};

/// The left side of products in the order in which the processor reads it, for who has its rows near one at a time.
class LeftSide {
 public:
  /// Room for [rows, columns]; what was there is lost. 1,024 columns are always possible.
  void reset(int64_t rows, int64_t columns);
  void set_row(int64_t row, const float* values);

 private:
  friend void product_part(const LeftSide& a, const Panels& b, int64_t first_inner, int64_t first_column,
                           MatrixView out, bool add);
  Buffer words_;
  int64_t columns_ = 0, stride_ = 0;
};

/// Distance of rows of `columns` values at which product() takes a left side as it is; at another it makes a copy.
int64_t left_stride(int64_t columns);

/// out = a b: [m, k] x [k, n] -> [m, n], with the first k = a.columns rows and n = out.columns columns of `b`. Runs on
/// the calling thread. A value of `out` depends on its row of `a` alone, to the bit, not on what other rows there are.
void product(ConstMatrixView a, const Panels& b, MatrixView out);
/// The same for the rows of `b` from `first_inner` on, and its columns from `first_column` on: multiples of 32. `add`:
/// to what is in `out`.
void product_part(ConstMatrixView a, const Panels& b, int64_t first_inner, int64_t first_column, MatrixView out,
                  bool add = false);
void product_part(const LeftSide& a, const Panels& b, int64_t first_inner, int64_t first_column, MatrixView out,
                  bool add = false);
/// The same as product() on all threads, which share the columns: for few rows. Inside a parallel region the calling
/// thread does it.
void product_on_all_threads(ConstMatrixView a, const Panels& b, MatrixView out);

/// Precision of all products from now on, computed with the best that the processor has: for float32 AMX (each
/// float as three bfloat16 values, as exact as float32 products), AVX-512, AVX2 or LibTorch's BLAS; for bfloat16 AMX,
/// AVX512-BF16, or float32 products of rounded values. `kernel` or, where it is empty, the environment's
/// SPIKESCOPE_KERNEL asks for one of product_kernels() instead; Error when this machine has no such. Panels set before
/// are of no use after it.
void choose_products(Dtype dtype, const std::string& kernel = "");
/// What the kernels for this precision are called here, the best first.
std::vector<std::string> product_kernels(Dtype dtype);
/// What computes products: "AVX-512", "AMX-BF16", "BLAS" (LibTorch's), ...
std::string product_kernel();
Dtype product_dtype();
/// Whether a product made in parts of its inner dimension (product_part with `add`) is the same to the bit as the whole.
bool sums_go_on();
/// Rows of the left side that are multiplied at a time: a part of them takes as long.
int64_t product_rows();

/// Most rows of a piece of for_row_pieces.
constexpr int64_t kRowsAPiece = 256;
/// Rows of the pieces that for_row_pieces makes of so many.
int64_t rows_of_a_piece(int64_t rows);
/// Calls work(first, count) for pieces that together are rows [0, rows), on all threads: few enough rows for all
/// threads to get some, enough for efficient products.
void for_row_pieces(int64_t rows, const std::function<void(int64_t first, int64_t count)>& work);

/// Largest error of a product [rows, inner] x [inner, columns] against float64, over what float32 rounding explains:
/// below 1 on a sound machine. In bfloat16 the factors are bfloat16 values.
double product_error(int64_t rows = 130, int64_t inner = 200, int64_t columns = 150);
/// Throws Error, with the remedy, when products with these inner sizes are wrong: some builds of OpenBLAS are, on
/// processors newer than they. Takes some 10 ms for a model of 7 billion parameters.
void check_products(std::span<const int64_t> inner_sizes);

}  // namespace spikescope
