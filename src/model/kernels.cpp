#include "model/kernels.h"

#if defined(__x86_64__)

#include <array>
#include <cstring>
#include <utility>

namespace spikescope {
namespace {

using Float8 [[gnu::vector_size(32)]] = float;
using Float16 [[gnu::vector_size(64)]] = float;

#define SPIKESCOPE_INLINE inline __attribute__((always_inline))

/// kRows x kVectors accumulators. The loops over them have constant bounds and are unrolled, which leaves the
/// accumulators in registers; memcpy is an unaligned load or store.
template <class Vector, int kRows, int kVectors>
SPIKESCOPE_INLINE void micro_kernel(const float* a, const float* panel, int64_t inner, float* out, int64_t out_stride,
                                    bool add) {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Vector{};
  for (int64_t i = 0; i < inner; ++i) {
    Vector columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) std::memcpy(&columns[v], panel + (i * kVectors + v) * kWidth, sizeof(Vector));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector value = a[r * kLeftStride + i] - Vector{};  // x - 0 is x to the bit, and becomes a plain broadcast
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] += value * columns[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* to = out + r * out_stride + v * kWidth;
      if (add) {
        Vector before;
        std::memcpy(&before, to, sizeof(Vector));
        sums[r][v] += before;
      }
      std::memcpy(to, &sums[r][v], sizeof(Vector));
    }
}

template <int kRows>
__attribute__((target("avx512f,fma"))) void avx512(const float* a, const float* panel, int64_t inner, float* out,
                                                   int64_t out_stride, bool add) {
  micro_kernel<Float16, kRows, 2>(a, panel, inner, out, out_stride, add);
}

template <int kRows>
__attribute__((target("avx2,fma"))) void avx2(const float* a, const float* panel, int64_t inner, float* out,
                                              int64_t out_stride, bool add) {
  micro_kernel<Float8, kRows, 2>(a, panel, inner, out, out_stride, add);
}

template <int... kRows>
constexpr auto avx512_table(std::integer_sequence<int, kRows...>) {
  return std::array<MicroKernel, sizeof...(kRows) + 1>{nullptr, avx512<kRows + 1>...};
}
template <int... kRows>
constexpr auto avx2_table(std::integer_sequence<int, kRows...>) {
  return std::array<MicroKernel, sizeof...(kRows) + 1>{nullptr, avx2<kRows + 1>...};
}

constexpr auto kAvx512 = avx512_table(std::make_integer_sequence<int, 14>());
constexpr auto kAvx2 = avx2_table(std::make_integer_sequence<int, 6>());

}  // namespace

const Kernel kAvx512Kernel = {"AVX-512", 14, 32, kAvx512.data()};
const Kernel kAvx2Kernel = {"AVX2", 6, 16, kAvx2.data()};

}  // namespace spikescope

#endif
