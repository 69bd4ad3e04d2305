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

#define SPIKESCOPE_ALWAYS __attribute__((always_inline))
#define SPIKESCOPE_INLINE inline SPIKESCOPE_ALWAYS
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
SPIKESCOPE_INLINE void micro_kernel(const MicroWork& work) {
  const auto [left, left_stride, panel, panel_step, inner, out, out_stride, add, ahead, ahead_a_step] = work;
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
SPIKESCOPE_AVX512 void avx512(const MicroWork& work) {
  micro_kernel<MultiplyFloats, Float16, kRows, 2>(work);
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
SPIKESCOPE_AVX2 void avx2(const MicroWork& work) {
  micro_kernel<MultiplyFloats, Float8, kRows, 2>(work);
}

/// As micro_kernel, with the processor's own sum of two products of bfloat16 values.
template <int kRows>
SPIKESCOPE_AVX512_BF16 void avx512_bf16(const MicroWork& work) {
  const auto [left, left_stride, panel, panel_step, inner, out, out_stride, add, ahead, ahead_a_step] = work;
  __m512 sums[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  for (int64_t i = 0; i < inner / 2; ++i) {
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

/// kSplit values as the nearest bfloat16 values, then what is missing, then what is still missing. Ties go to even,
/// which matters where there is no second part.
SPIKESCOPE_AVX512 void split(const float* from, int64_t times, int parts, float* to, int64_t part_stride) {
  const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000)), below_half = _mm512_set1_epi32(0x7fff);
  const __m512i half = _mm512_set1_epi32(0x8000), one = _mm512_set1_epi32(1);
  const auto bits = [](__m512 values) SPIKESCOPE_AVX512 { return _mm512_castps_si512(values); };
  const auto store = [&](__m512i first, __m512i second) SPIKESCOPE_AVX512 {
    // (first >> 16) | (second & high_half)
    _mm512_storeu_si512(to, _mm512_ternarylogic_epi32(_mm512_srli_epi32(first, 16), second, high_half, 0xf8));
    to += part_stride;
  };
  for (int64_t i = 0; i < times; ++i, from += kSplit) {
    __m512 first = _mm512_loadu_ps(from), second = _mm512_loadu_ps(from + kSplit / 2);
    if (parts == 1) {
      const auto even = [&](__m512 values) SPIKESCOPE_AVX512 {
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits(values), 16), one);
        return _mm512_add_epi32(_mm512_add_epi32(bits(values), below_half), odd);
      };
      store(even(first), even(second));
      continue;
    }
    for (int part = 0; part + 1 < parts; ++part) {
      const __m512i a = _mm512_and_si512(_mm512_add_epi32(bits(first), half), high_half);
      const __m512i b = _mm512_and_si512(_mm512_add_epi32(bits(second), half), high_half);
      store(a, b);
      first = _mm512_sub_ps(first, _mm512_castsi512_ps(a));
      second = _mm512_sub_ps(second, _mm512_castsi512_ps(b));
    }
    store(bits(first), bits(second));
  }
}

/// Products of a part of the left side and one of the panel, in an order in which each but the first needs a new part
/// of only one of them, and the largest comes last: so only its addition rounds as much as a float32 sum does. With
/// fewer parts of the panel some are left out, which changes no sum: they would be 0.
struct PartPair {
  int left, panel;
};
template <int kLeftParts, int kPanelParts>
constexpr auto kPartPairs = std::array{PartPair{0, 0}};
template <>
constexpr auto kPartPairs<3, 1> = std::array{PartPair{1, 0}, PartPair{2, 0}, PartPair{0, 0}};
template <>
constexpr auto kPartPairs<3, 2> =
    std::array{PartPair{0, 1}, PartPair{1, 1}, PartPair{1, 0}, PartPair{2, 0}, PartPair{0, 0}};
template <>
constexpr auto kPartPairs<3, 3> =
    std::array{PartPair{0, 2}, PartPair{0, 1}, PartPair{1, 1}, PartPair{1, 0}, PartPair{2, 0}, PartPair{0, 0}};

/// One of kPartPairs over one step: tiles 0 to 3 are the sums, 4 and 5 the left side, 6 and 7 the panel. Up to 16 rows
/// leave half of them out.
template <bool kBoth, int kLeftParts, int kPanelParts, size_t kPair>
SPIKESCOPE_AMX SPIKESCOPE_INLINE void multiply_tiles(const float* left, int64_t left_stride, const float* panel) {
  constexpr int64_t kRowBytes = 64, kTileWords = 16 * 16;
  constexpr auto kPairs = kPartPairs<kLeftParts, kPanelParts>;
  constexpr PartPair kThis = kPairs[kPair], kBefore = kPairs[kPair == 0 ? 0 : kPair - 1];
  constexpr bool kNewLeft = kPair == 0 || kThis.left != kBefore.left;
  constexpr bool kNewPanel = kPair == 0 || kThis.panel != kBefore.panel;
  left += kThis.left * kTileWords;
  panel += kThis.panel * 2 * kTileWords;
  if constexpr (kNewLeft) _tile_loadd(4, left, kRowBytes);
  if constexpr (kNewPanel) _tile_loadd(6, panel, kRowBytes);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kNewPanel) _tile_loadd(7, panel + kTileWords, kRowBytes);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kBoth) {
    if constexpr (kNewLeft) _tile_loadd(5, left + 16 * left_stride, kRowBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

constexpr int64_t kLongSum = 256;

/// Where rows are missing, the left side has whatever lies there, and those sums are dropped.
template <int kRows, int kLeftParts, int kPanelParts>
SPIKESCOPE_AMX void amx(const MicroWork& work) {
  // Not as a structured binding: the lambda below takes some of them, which older versions of clang refuse.
  const float *left = work.left, *panel = work.panel, *ahead = work.ahead;
  float* const out = work.out;
  const int64_t left_stride = work.left_stride, inner = work.inner, out_stride = work.out_stride;
  const bool add = work.add;
  constexpr bool kBoth = kRows > 16, kWhole = kRows % 16 == 0;
  alignas(64) float rest[kWhole ? 1 : 32 * 32];
  float* const to = kWhole ? out : rest;
  const int64_t stride = kWhole ? out_stride : 32, bytes = stride * static_cast<int64_t>(sizeof(float));
  // The sums are stored long after: their lines can come near meanwhile.
  if (kWhole && inner >= kLongSum)
    for (int r = 0; r < kRows; ++r) {
      __builtin_prefetch(out + r * out_stride, 1, kSecondLevel);
      __builtin_prefetch(out + r * out_stride + kLine, 1, kSecondLevel);
    }
  if (!kWhole && add)
    for (int r = 0; r < kRows; ++r) std::memcpy(rest + r * 32, out + r * out_stride, 32 * sizeof(float));
  if (add) {
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
  constexpr size_t kPairs = kPartPairs<kLeftParts, kPanelParts>.size();
  for (int64_t i = 0; i < inner; i += 32, left += 16 * 16 * kLeftParts, panel += work.panel_step) {
    for (int64_t line = 0; line < work.ahead_a_step; ++line, ahead += kLine) __builtin_prefetch(ahead, 0, kSecondLevel);
    [&]<size_t... kPair>(std::index_sequence<kPair...>) SPIKESCOPE_AMX SPIKESCOPE_ALWAYS {
      (multiply_tiles<kBoth, kLeftParts, kPanelParts, kPair>(left, left_stride, panel), ...);
    }
    (std::make_index_sequence<kPairs>());
  }
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + 16, bytes);
  if constexpr (kBoth) {
    _tile_stored(2, to + 16 * stride, bytes);
    _tile_stored(3, to + 16 * stride + 16, bytes);
  }
  if (!kWhole)
    for (int r = 0; r < kRows; ++r) std::memcpy(out + r * out_stride, rest + r * 32, 32 * sizeof(float));
}
template <int kRows>
constexpr MicroKernel amx_pairs = amx<kRows, 1, 1>;
template <int kRows>
constexpr MicroKernel amx_floats = amx<kRows, 3, 3>;
template <int kRows>
constexpr MicroKernel amx_two_parts = amx<kRows, 3, 2>;
template <int kRows>
constexpr MicroKernel amx_one_part = amx<kRows, 3, 1>;

#define SPIKESCOPE_TABLE(name, count)                                                    \
  constexpr auto name##_table = []<int... kRows>(std::integer_sequence<int, kRows...>) { \
    return std::array<MicroKernel, sizeof...(kRows) + 1>{nullptr, name<kRows + 1>...};   \
  }                                                                                      \
  (std::make_integer_sequence<int, count>())

SPIKESCOPE_TABLE(avx512, 14);
SPIKESCOPE_TABLE(avx2, 6);
SPIKESCOPE_TABLE(avx512_bf16, 14);
SPIKESCOPE_TABLE(amx_pairs, 32);
SPIKESCOPE_TABLE(amx_floats, 32);
SPIKESCOPE_TABLE(amx_two_parts, 32);
SPIKESCOPE_TABLE(amx_one_part, 32);

/// Features of cpuid's leaf 7; sub-leaf 0: edx, sub-leaf 1: eax.
bool cpu_has(unsigned subleaf, unsigned bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, subleaf, &eax, &ebx, &ecx, &edx)) return false;
  return ((subleaf == 0 ? edx : eax) >> bit & 1) != 0;
}

}  // namespace

const Kernel kAvx512Kernel = {.name = "AVX-512",
                              .rows = 14,
                              .columns = 32,
                              .tile_columns = 32,
                              .parts = 0,
                              .step = 1,
                              .left_rows = 1,
                              .piece_rows = 56,
                              .panel_values = 192,
                              .micro = {avx512_table.data()},
                              .transpose = transpose16,
                              .split = nullptr,
                              .prepare = nullptr};
const Kernel kAvx2Kernel = {.name = "AVX2",
                            .rows = 6,
                            .columns = 16,
                            .tile_columns = 16,
                            .parts = 0,
                            .step = 1,
                            .left_rows = 1,
                            .piece_rows = 60,
                            .panel_values = 128,
                            .micro = {avx2_table.data()},
                            .transpose = nullptr,
                            .split = nullptr,
                            .prepare = nullptr};
const Kernel kAvx512Bf16Kernel = {.name = "AVX512-BF16",
                                  .rows = 14,
                                  .columns = 32,
                                  .tile_columns = 32,
                                  .parts = 1,
                                  .step = 32,
                                  .left_rows = 1,
                                  .piece_rows = 56,
                                  .panel_values = 256,
                                  .micro = {avx512_bf16_table.data()},
                                  .transpose = transpose16,
                                  .split = split,
                                  .prepare = nullptr};
const Kernel kAmxKernel = {.name = "AMX-BF16",
                           .rows = 32,
                           .columns = 32,
                           .tile_columns = 16,
                           .parts = 1,
                           .step = 32,
                           .left_rows = 16,
                           .piece_rows = 256,
                           .panel_values = 320,
                           .micro = {amx_pairs_table.data()},
                           .transpose = transpose16,
                           .split = split,
                           .prepare = configure_tiles};
const Kernel kAmxFloatKernel = {
    .name = "AMX, floats in three parts",
    .rows = 32,
    .columns = 32,
    .tile_columns = 16,
    .parts = 3,
    .step = 32,
    .left_rows = 16,
    .piece_rows = 256,
    .panel_values = 1344,
    .micro = {amx_one_part_table.data(), amx_two_parts_table.data(), amx_floats_table.data()},
    .transpose = transpose16,
    .split = split,
    .prepare = configure_tiles};

bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }
bool has_avx512_bf16() { return has_avx512() && cpu_has(1, 5); }

bool has_amx() {
  // The tiles are 8 KiB of state a thread, which Linux hands out on request, to all threads of the process.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = has_avx512_bf16() && cpu_has(0, 22) && cpu_has(0, 24) &&
                              syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

}  // namespace spikescope

#endif
