// The inner loops of products for the processors that have their own: a few rows of the left side times one panel of
// the right one, all sums in registers. Which of them runs is product.h's business.
//
// Both sides are made of words of 32 bits: a float, or two bfloat16 values that stand kSplit / 2 from each other along
// the inner dimension, the first in the low half. A float is also the sum of three bfloat16 values, to the bit: 24 bits
// of mantissa are three times 8. With such parts a processor that multiplies bfloat16 matrices 16 times as fast as
// floats multiplies floats. Many weights need fewer parts (those stored as bfloat16 one, as float16 or Q4_0 two), and
// fewer products then.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace spikescope {

/// Words of a row of the left side that are taken at once.
constexpr int64_t kMostInner = 2048;
/// Distance of the rows of the left side, in words, for kernels that take rows: a constant, so that one register points
/// to all of them; and a line more than a power of two, so that they do not fall on each other in the cache.
constexpr int64_t kLeftStride = kMostInner + 16;

/// out[r, c] (+)= sum over i < inner of left[r, i] * panel[i, c], for the rows a micro-kernel was made for and all
/// columns of a panel. Each sum goes over i in order, so that it does not depend on the number of rows or threads.
struct MicroWork {
  const float* left;  ///< a row has at most kMostInner words
  int64_t
      left_stride;  ///< words that a row of the left side takes, or a sixteenth of a tile's rows (Kernel::left_rows)
  const float* panel;
  int64_t panel_step;  ///< words from a step of the panel to the next
  int64_t inner;       ///< values, a multiple of Kernel::step
  float* out;
  int64_t out_stride;
  bool add;              ///< to what is in `out`; else over it
  const float* ahead;    ///< what is read soon, to be brought near meanwhile
  int64_t ahead_a_step;  ///< lines of it for each step
};
using MicroKernel = void (*)(const MicroWork& work);

/// Floats of a cache line.
constexpr int64_t kLine = 16;

/// Side of the squares that a kernel can transpose, in words.
constexpr int64_t kTranspose = 16;

/// Values that Kernel::split takes at once, and bfloat16 values that make up a float.
constexpr int64_t kSplit = 32;
constexpr int kMostParts = 3;

struct Kernel {
  std::string_view name;
  int64_t rows;          ///< most rows of a micro-kernel
  int64_t columns;       ///< of a panel
  int64_t tile_columns;  ///< columns whose words of a step and part stand together
  int parts;             ///< bfloat16 values that make up a value; 0: a word is a float
  int64_t step;          ///< values of the inner dimension that a micro-kernel takes at a time: 1 or kSplit
  /// Rows of the left side whose words of a step and part stand together, one row's after the other's: 1 or 16, a tile;
  /// all parts of a step, then the next step, then the next group of rows.
  int64_t left_rows;
  /// Rows that meet a panel while it is near. The faster the kernel, the more it takes to make up for fetching the
  /// panel; and what a block keeps of that many rows should fit the second-level cache.
  int64_t piece_rows;
  /// Most values of a panel's column to take at a time: such a piece of a panel stays in the first-level cache. Floats
  /// in parts, which compute longer with what they fetch, gain nothing from it.
  int64_t panel_values;
  /// [rows + 1] by rows (the first is unused), for panels whose values need one part, two, ...; floats have the first.
  std::array<const MicroKernel*, kMostParts> micro;
  /// to[i * to_stride + r] = from[r * stride + i] for r, i < kTranspose; may be null.
  void (*transpose)(const float* from, int64_t stride, float* to, int64_t to_stride);
  /// kSplit values into `parts` x kSplit / 2 words each time, with `part_stride` words from a part to the next; null
  /// where parts == 0.
  void (*split)(const float* from, int64_t times, int parts, float* to, int64_t part_stride);
  void (*prepare)();  ///< called before a series of them on a thread; may be null

  /// Words for a part of `values` values of the inner dimension.
  int64_t words(int64_t values) const { return parts == 0 ? values : (values + step - 1) / step * step / 2; }
};

/// 14 rows x 32 columns in 28 of the 32 registers. Needs AVX-512F.
extern const Kernel kAvx512Kernel;
/// 6 rows x 16 columns in 12 of the 16 registers. Needs AVX2 and FMA.
extern const Kernel kAvx2Kernel;
/// The first with bfloat16 pairs. Needs AVX512-BF16.
extern const Kernel kAvx512Bf16Kernel;
/// 32 rows x 32 columns in four of the eight tiles. Needs AMX-BF16.
extern const Kernel kAmxKernel;
/// Floats in three parts: of the nine products of parts the six largest. What is left out is at most 2^-24 of the
/// product, as rounding it to float32 is. Overflows beyond 3.39e38, flushes parts below 1e-38 to 0, and makes NaN of
/// infinities. Needs AMX-BF16.
extern const Kernel kAmxFloatKernel;

/// Whether the processor has them, and the system lets this process use them.
bool has_avx512();
bool has_avx2();
bool has_avx512_bf16();
bool has_amx();

}  // namespace spikescope
