// The inner loops of products for the processors that have their own: a few rows of the left side times one panel of
// the right one, all sums in registers. Which of them runs is product.h's business.
#pragma once

#include <cstdint>
#include <string_view>

namespace spikescope {

/// Values of a row of the left side that are taken at once.
constexpr int64_t kMostInner = 1024;
/// Distance of the rows of `a`. A constant, so that one register points to all of them; and a line more than a power of
/// two, so that they do not fall on each other in the cache.
constexpr int64_t kLeftStride = kMostInner + 16;

/// out[r, c] (+)= sum over i < inner of a[r, i] * panel[i, c], for the rows it was made for and all columns of a panel;
/// `inner` <= kMostInner. Each sum goes over i in order, one fused multiply-add a step, so that it does not depend on
/// the number of rows or threads. `add`: to what is in `out`, else over it.
using MicroKernel = void (*)(const float* a, const float* panel, int64_t inner, float* out, int64_t out_stride,
                             bool add);

struct Kernel {
  std::string_view name;
  int64_t rows;              ///< most rows of a micro-kernel
  int64_t columns;           ///< of a panel
  const MicroKernel* micro;  ///< [rows + 1], by rows; the first is unused
};

/// 14 rows x 32 columns in 28 of the 32 registers. Needs AVX-512F.
extern const Kernel kAvx512Kernel;
/// 6 rows x 16 columns in 12 of the 16 registers. Needs AVX2 and FMA.
extern const Kernel kAvx2Kernel;

}  // namespace spikescope
