// The inner loops of products for the processors that have their own: a few rows of the left side times one panel of
// the right one, all sums in registers. Which of them runs is product.h's business.
//
// Both sides are made of words of 32 bits: a float, or two bfloat16 values that follow each other along the inner
// dimension, the first in the low half.
#pragma once

#include <cstdint>
#include <string_view>

namespace spikescope {

/// Words of a row of the left side that are taken at once.
constexpr int64_t kMostInner = 2048;
/// Distance of the rows of the left side, in words. A constant, so that one register points to all of them; and a line
/// more than a power of two, so that they do not fall on each other in the cache.
constexpr int64_t kLeftStride = kMostInner + 16;

/// out[r, c] (+)= sum over i < inner of left[r, i] * panel[i, c], for the rows it was made for and all columns of a
/// panel. `inner`, in words, is a multiple of Kernel::inner_step and at most kMostInner. Each sum goes over i in order,
/// so that it does not depend on the number of rows or threads. `add`: to what is in `out`, else over it.
using MicroKernel = void (*)(const float* left, const float* panel, int64_t inner, float* out, int64_t out_stride,
                             bool add);

/// Side of the squares that a kernel can transpose, in words.
constexpr int64_t kTranspose = 16;

struct Kernel {
  std::string_view name;
  int64_t rows;        ///< most rows of a micro-kernel
  int64_t columns;     ///< of a panel
  int64_t inner_step;  ///< words
  bool bfloat16;       ///< a word is two bfloat16 values
  /// Words of a panel's column to take at a time: such a part of a panel stays in the first-level cache.
  int64_t panel_words;
  const MicroKernel* micro;  ///< [rows + 1], by rows; the first is unused
  /// to[i * to_stride + r] = from[r * stride + i] for r, i < kTranspose; may be null.
  void (*transpose)(const float* from, int64_t stride, float* to, int64_t to_stride);
  void (*prepare)();  ///< called before a series of them on a thread; may be null
};

/// 14 rows x 32 columns in 28 of the 32 registers. Needs AVX-512F.
extern const Kernel kAvx512Kernel;
/// 6 rows x 16 columns in 12 of the 16 registers. Needs AVX2 and FMA.
extern const Kernel kAvx2Kernel;
/// The first with bfloat16 pairs. Needs AVX512-BF16.
extern const Kernel kAvx512Bf16Kernel;
/// 32 rows x 32 columns in four of the eight tiles. Needs AMX-BF16.
extern const Kernel kAmxKernel;

/// Whether the processor has them, and the system lets this process use them.
bool has_avx512();
bool has_avx2();
bool has_avx512_bf16();
bool has_amx();

}  // namespace spikescope
