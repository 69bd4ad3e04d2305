#include "model/kernels.h"

#if defined(__x86_64__)

#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

namespace spikescope {
namespace {

using Float8 [[gnu::vector_size(32)]] = float;
using Float16 [[gnu::vector_size(64)]] = float;

#define SPIKESCOPE_INLINE inline __attribute__((always_inline))
#define SPIKESCOPE_AVX2 __attribute__((target("avx2,fma")))
#define SPIKESCOPE_AVX512 __attribute__((target("avx512f,fma")))
#define SPIKESCOPE_AVX512_BF16 __attribute__((target("avx512f,avx512bf16,fma")))
#define SPIKESCOPE_AMX __attribute__((target("avx512f,amx-tile,amx-bf16")))

/// sum + left * columns, where one word of the left side stands in all of `left`.
struct MultiplyFloats {
  template <class Vector>
  SPIKESCOPE_INLINE static void step(Vector& sum, const float* left, const Vector& columns) {
    const Vector value = *left - Vector{};  // x - 0 is x to the bit, and becomes a plain broadcast
    sum += value * columns;
  }
};

constexpr int kSecondLevel = 2;  // cache, in __builtin_prefetch's terms

/// kRows x kVectors accumulators. The loops over them have constant bounds and are unrolled, which leaves the
/// accumulators in registers; memcpy is an unaligned load or store.
template <class Multiply, class Vector, int kRows, int kVectors>
SPIKESCOPE_INLINE void micro_kernel(const float* left, const float* panel, int64_t inner, float* out,
                                    int64_t out_stride, bool add) {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Vector{};
  for (int64_t i = 0; i < inner; ++i) {
    Vector columns[kVectors];
    // What the next call reads comes from far: a layer's weights are used once before the next layer's push them out.
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      __builtin_prefetch(panel + ((inner + i) * kVectors + v) * kWidth, 0, kSecondLevel);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) std::memcpy(&columns[v], panel + (i * kVectors + v) * kWidth, sizeof(Vector));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) Multiply::step(sums[r][v], left + r * kLeftStride + i, columns[v]);
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
SPIKESCOPE_AVX512 void avx512(const float* left, const float* panel, int64_t inner, float* out, int64_t out_stride,
                              bool add) {
  micro_kernel<MultiplyFloats, Float16, kRows, 2>(left, panel, inner, out, out_stride, add);
}

/// Halves change places, then quarters, eighths, sixteenths.
SPIKESCOPE_AVX512 void transpose16(const float* from, int64_t stride, float* to, int64_t to_stride) {
  __m512 rows[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) rows[r] = _mm512_loadu_ps(from + r * stride);
#pragma GCC unroll 4
  for (int half = 8; half > 0; half /= 2) {
    alignas(64) int upper[16], lower[16];  // lane i of the row above, or 16 + i of the row `half` below
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      upper[i] = (i & half) ? 16 + i - half : i;
      lower[i] = (i & half) ? 16 + i : i + half;
    }
    const __m512i from_upper = _mm512_load_si512(upper), from_lower = _mm512_load_si512(lower);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      if (r & half) continue;
      const __m512 above = rows[r], below = rows[r + half];
      rows[r] = _mm512_permutex2var_ps(above, from_upper, below);
      rows[r + half] = _mm512_permutex2var_ps(above, from_lower, below);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_ps(to + i * to_stride, rows[i]);
}

template <int kRows>
SPIKESCOPE_AVX2 void avx2(const float* left, const float* panel, int64_t inner, float* out, int64_t out_stride,
                          bool add) {
  micro_kernel<MultiplyFloats, Float8, kRows, 2>(left, panel, inner, out, out_stride, add);
}

/// As micro_kernel, with the processor's own sum of two products of bfloat16 values.
template <int kRows>
SPIKESCOPE_AVX512_BF16 void avx512_bf16(const float* left, const float* panel, int64_t inner, float* out,
                                        int64_t out_stride, bool add) {
  __m512 sums[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  for (int64_t i = 0; i < inner; ++i) {
    const __m512bh first = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + i * 32));
    const __m512bh second = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + i * 32 + 16));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      int pair;
      std::memcpy(&pair, left + r * kLeftStride + i, sizeof(pair));
      const __m512bh value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], value, first);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], value, second);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      float* to = out + r * out_stride + v * 16;
      _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), sums[r][v]) : sums[r][v]);
    }
}

/// Shapes of the eight tiles, 16 rows of 64 bytes each. The processor keeps them for each thread, but another library
/// on it (oneDNN) may have changed or released them since the last product.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// Not a local: to the compiler the instruction reads no more than the first eight bytes, and it would drop the rest.
constexpr TileShapes kTileShapes;
SPIKESCOPE_AMX void configure_tiles() { _tile_loadconfig(&kTileShapes); }

/// Tiles 0 to 3 are the sums, 4 and 5 the left side, 6 and 7 the panel. Up to 16 rows leave half of them out; where
/// rows are missing, the left side has whatever lies there, and those sums are dropped.
template <int kRows>
SPIKESCOPE_AMX void amx(const float* left, const float* panel, int64_t inner, float* out, int64_t out_stride,
                        bool add) {
  constexpr bool kBoth = kRows > 16, kWhole = kRows % 16 == 0;
  alignas(64) float rest[kWhole ? 1 : 32 * 32];
  float* const to = kWhole ? out : rest;
  const int64_t stride = kWhole ? out_stride : 32, bytes = stride * static_cast<int64_t>(sizeof(float));
  if (kWhole && add) {
    _tile_loadd(0, to, bytes);
    _tile_loadd(1, to + 16, bytes);
    if constexpr (kBoth) {
      _tile_loadd(2, to + 16 * stride, bytes);
      _tile_loadd(3, to + 16 * stride + 16, bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kBoth) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  constexpr int64_t kLeftBytes = kLeftStride * static_cast<int64_t>(sizeof(float)), kPanelBytes = 128;
  for (int64_t i = 0; i < inner; i += 16) {
    _tile_loadd(4, left + i, kLeftBytes);
    _tile_loadd(6, panel + i * 32, kPanelBytes);
    _tile_loadd(7, panel + i * 32 + 16, kPanelBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kBoth) {
      _tile_loadd(5, left + 16 * kLeftStride + i, kLeftBytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + 16, bytes);
  if constexpr (kBoth) {
    _tile_stored(2, to + 16 * stride, bytes);
    _tile_stored(3, to + 16 * stride + 16, bytes);
  }
  if constexpr (!kWhole)
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < 32; ++c) {
        float& value = out[r * out_stride + c];
        value = rest[r * 32 + c] + (add ? value : 0.0f);
      }
}

#define SPIKESCOPE_TABLE(name, count)                                                    \
  constexpr auto name##_table = []<int... kRows>(std::integer_sequence<int, kRows...>) { \
    return std::array<MicroKernel, sizeof...(kRows) + 1>{nullptr, name<kRows + 1>...};   \
  }                                                                                      \
  (std::make_integer_sequence<int, count>())

SPIKESCOPE_TABLE(avx512, 14);
SPIKESCOPE_TABLE(avx2, 6);
SPIKESCOPE_TABLE(avx512_bf16, 14);
SPIKESCOPE_TABLE(amx, 32);

/// Features of cpuid's leaf 7; sub-leaf 0: edx, sub-leaf 1: eax.
bool cpu_has(unsigned subleaf, unsigned bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, subleaf, &eax, &ebx, &ecx, &edx)) return false;
  return ((subleaf == 0 ? edx : eax) >> bit & 1) != 0;
}

}  // namespace

const Kernel kAvx512Kernel = {"AVX-512", 14, 32, 1, false, 192, avx512_table.data(), transpose16, nullptr};
const Kernel kAvx2Kernel = {"AVX2", 6, 16, 1, false, 128, avx2_table.data(), nullptr, nullptr};
const Kernel kAvx512Bf16Kernel = {"AVX512-BF16", 14, 32, 1, true, 128, avx512_bf16_table.data(), transpose16, nullptr};
const Kernel kAmxKernel = {"AMX-BF16", 32, 32, 16, true, 256, amx_table.data(), transpose16, configure_tiles};

bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }
bool has_avx512_bf16() { return has_avx512() && cpu_has(1, 5); }

bool has_amx() {
  // The tiles are 8 KiB of state a thread, which Linux hands out on request, to all threads of the process.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted =
      has_avx512() && cpu_has(0, 22) && cpu_has(0, 24) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

}  // namespace spikescope

#endif
