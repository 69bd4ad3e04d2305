#include "model/product.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>

#include "base/fail.h"
#include "base/parallel.h"
#include "model/kernels.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

/// The left side is taken in copies of this many rows (and kMostInner words), which the micro-kernels like and the
/// second-level cache holds.
constexpr int64_t kLeftRows = 128;
constexpr int64_t kMostRows = 32, kMostColumns = 32;  // of the kernels there are

struct Choice {
  std::string_view name;  // in SPIKESCOPE_KERNEL
  Dtype dtype;
  const Kernel* kernel;  // null: LibTorch's BLAS
  bool (*available)();

  /// bfloat16 with a kernel that has no such words: products of rounded floats.
  bool rounds() const { return dtype == Dtype::bfloat16 && !pairs(); }
  bool pairs() const { return kernel && kernel->bfloat16; }
};

bool always() { return true; }

constexpr std::array kChoices = {
#if defined(__x86_64__)
    Choice{"avx512", Dtype::float32, &kAvx512Kernel, has_avx512},
    Choice{"avx2", Dtype::float32, &kAvx2Kernel, has_avx2},
#endif
    Choice{"blas", Dtype::float32, nullptr, always},
#if defined(__x86_64__)
    Choice{"amx", Dtype::bfloat16, &kAmxKernel, has_amx},
    Choice{"avx512bf16", Dtype::bfloat16, &kAvx512Bf16Kernel, has_avx512_bf16},
    Choice{"avx512", Dtype::bfloat16, &kAvx512Kernel, has_avx512},
    Choice{"avx2", Dtype::bfloat16, &kAvx2Kernel, has_avx2},
#endif
    Choice{"blas", Dtype::bfloat16, nullptr, always},
};

/// The best there is, or the one called `name`; null when this machine has no such.
const Choice* find_choice(Dtype dtype, std::string_view name) {
  for (const Choice& choice : kChoices)
    if (choice.dtype == dtype && (name.empty() || choice.name == name) && choice.available()) return &choice;
  return nullptr;
}

std::string wished_kernel() {
  const char* name = std::getenv("SPIKESCOPE_KERNEL");
  return name ? name : "";
}

const Choice*& current() {
  static const Choice* choice = [] {
    // The name may be meant for another precision, which is chosen later.
    const Choice* wished = find_choice(Dtype::float32, wished_kernel());
    return wished ? wished : find_choice(Dtype::float32, "");
  }();
  return choice;
}

/// The nearest bfloat16 value, ties to even, in the high half.
inline uint32_t rounded_bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
}
inline float rounded(float value) { return std::bit_cast<float>(rounded_bits(value)); }
inline float pair_of(float low, float high) {
  return std::bit_cast<float>(rounded_bits(low) >> 16 | rounded_bits(high));
}

/// Words for `inner` values, rounded up to whole steps of the kernel.
int64_t words_for(int64_t inner) {
  const Choice& choice = *current();
  if (!choice.pairs()) return inner;
  const int64_t step = choice.kernel->inner_step;
  return ((inner + 1) / 2 + step - 1) / step * step;
}

SPIKESCOPE_VECTORIZED
void copy_row(const float* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

SPIKESCOPE_VECTORIZED
void round_row(const float* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = rounded(from[i]);
}

SPIKESCOPE_VECTORIZED
void pair_row(const float* from, int64_t pairs, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < pairs; ++i) to[i] = pair_of(from[2 * i], from[2 * i + 1]);
}

/// One row into `words` words; 0 where it has no more values.
void fill_row(const Choice& choice, const float* from, int64_t count, int64_t words, float* to) {
  if (!choice.pairs()) {
    (choice.rounds() ? round_row : copy_row)(from, count, to);
    return;
  }
  pair_row(from, count / 2, to);
  std::fill(to + count / 2, to + words, 0.0f);
  if (count % 2 != 0) to[count / 2] = pair_of(from[count - 1], 0.0f);
}

/// Copied rows times one panel, `inner` words deep. Registers: the rows are dealt out evenly to micro-kernels, since a
/// last one with one or two rows would be as slow as a full one. Tiles come in halves and wholes.
void multiply_panel(const Kernel& kernel, const float* left, const float* panel, int64_t inner, const MatrixView& out,
                    bool add) {
  const int64_t pieces = (out.rows + kernel.rows - 1) / kernel.rows;
  const bool even = kernel.rows < 16;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = even ? piece * out.rows / pieces : piece * kernel.rows;
    const int64_t rows = (even ? (piece + 1) * out.rows / pieces : std::min(out.rows, first + kernel.rows)) - first;
    float* to = out.data + first * out.stride;
    if (out.columns == kernel.columns) {
      kernel.micro[rows](left + first * kLeftStride, panel, inner, to, out.stride, add);
      continue;
    }
    // The panel is wider than what is left of `out`.
    float sums[kMostRows * kMostColumns];
    kernel.micro[rows](left + first * kLeftStride, panel, inner, sums, kernel.columns, false);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < out.columns; ++c) {
        float& value = to[r * out.stride + c];
        value = sums[r * kernel.columns + c] + (add ? value : 0.0f);
      }
  }
}

}  // namespace

std::string_view dtype_name(Dtype dtype) { return dtype == Dtype::bfloat16 ? "bfloat16" : "float32"; }

void Panels::reset(int64_t inner, int64_t columns) {
  const Choice& choice = *current();
  inner_ = inner;
  inner_words_ = words_for(inner);
  columns_ = columns;
  width_ = choice.kernel ? choice.kernel->columns : columns;
  const int64_t panels = (columns + width_ - 1) / width_, used = columns - (panels - 1) * width_;
  words_.resize(panels * inner_words_ * width_);
  const int64_t whole_words = choice.pairs() ? inner / 2 : inner;
  for (int64_t p = 0; p < panels; ++p)
    std::fill(panel(p) + whole_words * width_, panel(p) + inner_words_ * width_, 0.0f);
  if (used < width_)
    for (int64_t i = 0; i < whole_words; ++i) std::fill_n(panel(panels - 1) + i * width_ + used, width_ - used, 0.0f);
}

void Panels::set_columns(int64_t first, ConstMatrixView rows) {
  const Choice& choice = *current();
  const bool as_it_is = !choice.pairs() && !choice.rounds();
  const int64_t values = choice.pairs() ? 2 * kTranspose : kTranspose;
  float words[kTranspose * kTranspose];
  // Squares of rows that share lines of a panel, and of as many words.
  for (int64_t row = 0, count = 0; row < rows.rows; row += count) {
    const int64_t column = first + row;
    count = std::min(kTranspose - column % kTranspose, rows.rows - row);
    for (int64_t begin = 0; begin < inner_; begin += values) {
      const int64_t here = std::min(values, inner_ - begin), filled = choice.pairs() ? (here + 1) / 2 : here;
      const float* from = rows.data + row * rows.stride + begin;
      int64_t stride = rows.stride;
      if (!as_it_is) {
        for (int64_t r = 0; r < count; ++r) fill_row(choice, from + r * stride, here, filled, words + r * kTranspose);
        from = words;
        stride = kTranspose;
      }
      float* to = panel(column / width_) + (choice.pairs() ? begin / 2 : begin) * width_ + column % width_;
      if (choice.kernel && choice.kernel->transpose && count == kTranspose && filled == kTranspose) {
        choice.kernel->transpose(from, stride, to, width_);
        continue;
      }
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < filled; ++i) to[i * width_ + r] = from[r * stride + i];
    }
  }
}

void Panels::set_rows(ConstMatrixView rows) {
  const Choice& choice = *current();
  for (int64_t column = 0; column < columns_; column += width_) {
    const int64_t count = std::min(width_, columns_ - column);
    float* to = panel(column / width_);
    const float* from = rows.data + column;
    if (!choice.pairs()) {
      for (int64_t i = 0; i < inner_; ++i) fill_row(choice, from + i * rows.stride, count, count, to + i * width_);
      continue;
    }
    for (int64_t i = 0; i < inner_; i += 2) {
      const float *low = from + i * rows.stride, *high = low + rows.stride;
      for (int64_t c = 0; c < count; ++c) to[i / 2 * width_ + c] = pair_of(low[c], i + 1 < inner_ ? high[c] : 0.0f);
    }
  }
}

int64_t left_stride(int64_t columns) {
  const Choice& choice = *current();
  return choice.kernel && choice.dtype == Dtype::float32 && columns <= kMostInner ? kLeftStride : columns;
}

void product(ConstMatrixView a, const Panels& b, MatrixView out) { product_part(a, b, 0, 0, out); }

void product_part(ConstMatrixView a, const Panels& b, int64_t first_inner, int64_t first_column, MatrixView out) {
  const Choice& choice = *current();
  const int64_t values_a_word = choice.pairs() ? 2 : 1;
  if (!choice.kernel) {
    thread_local Buffer left;
    if (choice.rounds()) {
      left.resize(a.rows * a.columns);
      for (int64_t r = 0; r < a.rows; ++r) round_row(a.data + r * a.stride, a.columns, left.data() + r * a.columns);
      a = {left.data(), a.rows, a.columns, a.columns};
    }
    multiply(a, {b.words_.data() + first_inner * b.width_ + first_column, a.columns, out.columns, b.width_}, out);
    return;
  }
  const Kernel& kernel = *choice.kernel;
  if (kernel.prepare) kernel.prepare();
  const int64_t words = words_for(a.columns);
  thread_local Buffer copy(kLeftRows * kLeftStride);
  const bool as_it_is = a.stride == kLeftStride && left_stride(a.columns) == kLeftStride;
  for (int64_t row = 0; row < a.rows; row += kLeftRows) {
    const int64_t rows = std::min(kLeftRows, a.rows - row);
    for (int64_t begin = 0; begin < words; begin += kMostInner) {
      const int64_t inner = std::min(kMostInner, words - begin), first = begin * values_a_word;
      const float* left = as_it_is ? a.data + row * a.stride : copy.data();
      for (int64_t r = 0; r < rows && !as_it_is; ++r)
        fill_row(choice, a.data + (row + r) * a.stride + first, std::min(inner * values_a_word, a.columns - first),
                 inner, copy.data() + r * kLeftStride);
      for (int64_t column = 0; column < out.columns; column += kernel.columns) {
        const MatrixView part{out.data + row * out.stride + column, rows,
                              std::min(kernel.columns, out.columns - column), out.stride};
        const float* panel =
            b.panel((first_column + column) / kernel.columns) + (first_inner / values_a_word + begin) * kernel.columns;
        for (int64_t step = 0; step < inner; step += kernel.panel_words)
          multiply_panel(kernel, left + step, panel + step * kernel.columns, std::min(kernel.panel_words, inner - step),
                         part, begin + step > 0);
      }
    }
  }
}

void product_on_all_threads(ConstMatrixView a, const Panels& b, MatrixView out) {
  constexpr int64_t kPiecesAThread = 4;
  const Kernel* kernel = current()->kernel;
  if (!kernel || omp_in_parallel()) return product(a, b, out);  // a BLAS has threads of its own
  const int64_t panels = (out.columns + kernel->columns - 1) / kernel->columns;
  const int64_t step = std::max<int64_t>(1, panels / (kPiecesAThread * threads())) * kernel->columns;
  parallel_for((out.columns + step - 1) / step, [&](int64_t piece) {
    const int64_t first = piece * step;
    product_part(a, b, 0, first, {out.data + first, out.rows, std::min(step, out.columns - first), out.stride});
  });
}

void choose_products(Dtype dtype, const std::string& kernel) {
  const std::string name = kernel.empty() ? wished_kernel() : kernel;
  const Choice* choice = find_choice(dtype, name);
  if (!choice)
    fail("SPIKESCOPE_KERNEL={}: for {} this machine has {}", name, dtype_name(dtype),
         fmt::join(product_kernels(dtype), ", "));
  current() = choice;
}

std::vector<std::string> product_kernels(Dtype dtype) {
  std::vector<std::string> names;
  for (const Choice& choice : kChoices)
    if (choice.dtype == dtype && choice.available()) names.emplace_back(choice.name);
  return names;
}

std::string product_kernel() {
  const Choice& choice = *current();
  return fmt::format("{}{}", choice.kernel ? choice.kernel->name : "BLAS",
                     choice.rounds() ? ", rounded to bfloat16" : "");
}

Dtype product_dtype() { return current()->dtype; }

void for_row_pieces(int64_t rows, const std::function<void(int64_t first, int64_t count)>& work) {
  constexpr int64_t kLeast = 28, kPiecesAThread = 4;
  const int64_t wished = kPiecesAThread * threads();
  // Whole micro-kernels, and as many rows as a piece may have.
  const int64_t step = current()->kernel ? current()->kernel->rows : 1;
  const int64_t most = kRowsAPiece / step * step;
  const int64_t size = std::clamp((rows + wished - 1) / wished, std::min(kLeast, most), most);
  const int64_t pieces = (rows + size - 1) / size;
  if (pieces <= 1) {  // a BLAS then has the threads for itself
    if (rows > 0) work(0, rows);
    return;
  }
  const SerialProducts serial;
  parallel_for(pieces, [&](int64_t piece) {
    const int64_t first = piece * size;
    work(first, std::min(size, rows - first));
  });
}

double product_error(int64_t rows, int64_t inner, int64_t columns) {
  const int64_t m = rows, k = inner, n = columns;
  std::vector<float> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(n * k)), out(static_cast<size_t>(m * n));
  // Values of both signs without a pattern: a linear congruence will do.
  uint32_t state = 1;
  for (auto* values : {&a, &b})
    for (float& value : *values) {
      state = state * 1664525u + 1013904223u;
      value = rounded(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f);  // exact in either precision
    }
  Panels panels;
  panels.reset(k, n);
  panels.set_columns(0, {b.data(), n, k, k});
  product({a.data(), m, k, k}, panels, {out.data(), m, n, n});
  double worst = 0.0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0.0, magnitude = 0.0;
      for (int64_t l = 0; l < k; ++l) {
        const double term = static_cast<double>(a[static_cast<size_t>(i * k + l)]) * b[static_cast<size_t>(j * k + l)];
        sum += term;
        magnitude += std::abs(term);
      }
      // The bound on a float32 sum of k products in any order (Higham, Accuracy and Stability, 3.5).
      const double bound = static_cast<double>(k) * 0x1p-24 * magnitude;
      const double error = std::abs(static_cast<double>(out[static_cast<size_t>(i * n + j)]) - sum) / bound;
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
    }
  return worst;
}

void check_products(std::span<const int64_t> inner_sizes) {
  // A whole micro-kernel and a rest, a whole panel and a rest.
  constexpr int64_t kRows = 20, kColumns = 40;
  double error = 0.0;
  for (const int64_t inner : std::set<int64_t>(inner_sizes.begin(), inner_sizes.end()))
    error = std::max(error, product_error(kRows, inner, kColumns));
  if (error <= 1.0) return;
  const bool blas_computes = current()->kernel == nullptr;
  fail("{} computes wrong matrix products on this processor (error {:.3g} times what rounding explains); {}",
       blas_computes ? blas().name : product_kernel(), error,
       blas_computes ? "set OPENBLAS_CORETYPE (e.g. Haswell) or install another BLAS"
                     : "set SPIKESCOPE_KERNEL=blas to compute with LibTorch's BLAS");
}

}  // namespace spikescope
