#include "model/product.h"

#include <algorithm>
#include <array>
#include <atomic>
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

/// The left side is taken in copies of this many rows, which the micro-kernels like, and of no more words in all than
/// the second-level cache has room for.
constexpr int64_t kLeftRows = 256, kLeftWords = 224 * 1024;
constexpr int64_t kMostRows = 32, kMostColumns = 32;  // of the kernels there are
constexpr int64_t kFewRows = 64;

struct Choice {
  std::string_view name;  // in SPIKESCOPE_KERNEL
  Dtype dtype;
  const Kernel* kernel;  // null: LibTorch's BLAS
  bool (*available)();

  /// bfloat16 values that make up one of the left side; 0: words are floats.
  int parts() const { return kernel ? kernel->parts : 0; }
  /// bfloat16 with a kernel that has no such words: products of rounded floats.
  bool rounds() const { return dtype == Dtype::bfloat16 && parts() == 0; }
};

bool always() { return true; }

constexpr std::array kChoices = {
#if defined(__x86_64__)
    Choice{"amx", Dtype::float32, &kAmxFloatKernel, has_amx},
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

/// The nearest bfloat16 value, ties to even.
inline float rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
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

/// Whether no bit of these words is set.
SPIKESCOPE_VECTORIZED
bool all_zero(ConstMatrixView words) {
  uint32_t bits = 0;
  for (int64_t r = 0; r < words.rows; ++r) {
    const float* row = words.data + r * words.stride;
#pragma omp simd reduction(| : bits)
    for (int64_t i = 0; i < words.columns; ++i) bits |= std::bit_cast<uint32_t>(row[i]);
  }
  return bits == 0;
}

/// `count` values of a row into words of so many parts, `part_stride` of them from a part to the next; 0 for what is
/// missing from a whole step.
void fill_row(const Choice& choice, int parts, const float* from, int64_t count, float* to,
              int64_t part_stride = kSplit / 2) {
  if (choice.parts() == 0) {
    (choice.rounds() ? round_row : copy_row)(from, count, to);
    return;
  }
  const Kernel& kernel = *choice.kernel;
  const int64_t times = count / kSplit, rest = count % kSplit;
  kernel.split(from, times, parts, to, part_stride);
  if (rest == 0) return;
  float values[kSplit] = {}, words[kSplit / 2 * kMostParts];
  std::copy_n(from + times * kSplit, rest, values);
  kernel.split(values, 1, parts, words, kSplit / 2);
  to += times * parts * part_stride;
  for (int part = 0; part < parts; ++part)
    std::copy_n(words + part * kSplit / 2, kernel.words(rest), to + part * part_stride);
}

/// Words of so many values of a row of the left side; whole steps.
int64_t words_of_row(const Kernel& kernel, int64_t values) { return kernel.words(values) * std::max(kernel.parts, 1); }

/// Whether a sum that is taken up again goes on as if it had never been put down. Where not, what is added up at a time
/// must not depend on the number of rows.
bool sums_go_on(const Kernel& kernel) { return kernel.left_rows > 1; }

/// Parts of a right side's values with so many bits of mantissa.
int parts_for(const Choice& choice, int mantissa_bits) {
  return std::clamp((mantissa_bits + kPartBits - 1) / kPartBits, 1, std::max(choice.parts(), 1));
}

/// Copied rows times a piece of one panel; `work` is of the first rows and of all that is to be brought near meanwhile,
/// `ahead_lines` in all. Registers: the rows are dealt out evenly to micro-kernels, since a last one with one or two
/// rows would be as slow as a full one. Tiles come in halves and wholes.
void multiply_panel(const Kernel& kernel, const MicroKernel* micro, MicroWork work, int64_t ahead_lines, int64_t rows,
                    int64_t columns) {
  const int64_t pieces = (rows + kernel.rows - 1) / kernel.rows, steps = work.inner / kernel.step;
  const bool even = kernel.rows < 16;
  work.ahead_a_step = (ahead_lines + pieces * steps - 1) / (pieces * steps);
  const float* const left = work.left;
  float* const out = work.out;
  for (int64_t piece = 0; piece < pieces; ++piece, work.ahead += work.ahead_a_step * steps * kLine) {
    const int64_t first = even ? piece * rows / pieces : piece * kernel.rows;
    const int64_t count = (even ? (piece + 1) * rows / pieces : std::min(rows, first + kernel.rows)) - first;
    work.left = left + first * work.left_stride;
    work.out = out + first * work.out_stride;
    if (columns == kernel.columns) {
      micro[count](work);
      continue;
    }
    // The panel is wider than what is left of `out`.
    float sums[kMostRows * kMostColumns];
    for (int64_t r = 0; r < count && work.add; ++r)
      std::copy_n(work.out + r * work.out_stride, columns, sums + r * kernel.columns);
    MicroWork whole = work;
    whole.out = sums, whole.out_stride = kernel.columns;
    micro[count](whole);
    for (int64_t r = 0; r < count; ++r) std::copy_n(sums + r * kernel.columns, columns, work.out + r * work.out_stride);
  }
}

}  // namespace

std::string_view dtype_name(Dtype dtype) { return dtype == Dtype::bfloat16 ? "bfloat16" : "float32"; }

void Panels::reset(int64_t inner, int64_t columns, int mantissa_bits) {
  const Choice& choice = *current();
  inner_ = inner;
  parts_ = parts_for(choice, mantissa_bits);
  parts_needed_ = 1;
  inner_words_ = choice.kernel ? choice.kernel->words(inner) : inner;
  columns_ = columns;
  width_ = choice.kernel ? choice.kernel->columns : columns;
  tile_columns_ = choice.kernel ? choice.kernel->tile_columns : columns;
  step_words_ = choice.kernel ? std::max<int64_t>(1, choice.kernel->words(choice.kernel->step)) : 1;
  const int64_t panels = (columns + width_ - 1) / width_;
  words_.resize(panels * panel_words());
  if (columns < panels * width_) std::fill_n(words_.data() + (panels - 1) * panel_words(), panel_words(), 0.0f);
}

/// Where a word of a column stands; the next columns of the tile follow it.
float* Panels::word(int64_t index, int part, int64_t column) {
  const int64_t step = index / step_words_ * parts_ + part, tile = column % width_ / tile_columns_;
  return words_.data() + column / width_ * panel_words() + step * step_words_ * width_ +
         (tile * step_words_ + index % step_words_) * tile_columns_ + column % tile_columns_;
}

int64_t Panels::bytes(int64_t values, int mantissa_bits) {
  const Choice& choice = *current();
  const int64_t bytes_a_part = choice.parts() == 0 ? 4 : 2;
  return values * bytes_a_part * parts_for(choice, mantissa_bits);
}

void Panels::set_columns(int64_t first, ConstMatrixView rows) {
  const Choice& choice = *current();
  const Kernel* kernel = choice.kernel;
  // Squares of rows that share lines of a panel, and of as many words; one after the other for each part.
  const bool pairs = choice.parts() > 0;
  const int64_t values = pairs ? kSplit : kTranspose;
  float words[kTranspose * kTranspose * kMostParts];
  for (int64_t row = 0, count = 0; row < rows.rows; row += count) {
    const int64_t column = first + row;
    count = std::min(kTranspose - column % kTranspose, rows.rows - row);
    for (int64_t begin = 0; begin < inner_; begin += values) {
      const int64_t here = std::min(values, inner_ - begin), filled = pairs ? kernel->words(here) : here;
      const float* from = rows.data + row * rows.stride + begin;
      int64_t stride = rows.stride;
      if (pairs || choice.rounds()) {
        const int most_parts = std::max(choice.parts(), 1);
        stride = kTranspose * most_parts;
        for (int64_t r = 0; r < count; ++r)
          fill_row(choice, most_parts, from + r * rows.stride, here, words + r * stride);
        note_parts({words, count, filled, stride});
        from = words;
      }
      for (int part = 0; part < parts_; ++part, from += kTranspose) {
        float* to = word(pairs ? kernel->words(begin) : begin, part, column);
        if (kernel && kernel->transpose && count == kTranspose && filled == kTranspose) {
          kernel->transpose(from, stride, to, tile_columns_);
          continue;
        }
        for (int64_t r = 0; r < count; ++r)
          for (int64_t i = 0; i < filled; ++i) to[i * tile_columns_ + r] = from[r * stride + i];
      }
    }
  }
}

void Panels::set_rows(ConstMatrixView rows) {
  const Choice& choice = *current();
  for (int64_t column = 0; column < columns_; column += width_) {
    const int64_t count = std::min(width_, columns_ - column);
    const float* from = rows.data + column;
    if (choice.parts() == 0)
      for (int64_t i = 0; i < inner_; ++i) fill_row(choice, 1, from + i * rows.stride, count, word(i, 0, column));
    else
      set_row_pairs({from, inner_, count, rows.stride}, column);
  }
}

/// Words are pairs of rows.
void Panels::set_row_pairs(ConstMatrixView rows, int64_t first_column) {
  constexpr int64_t kColumns = kSplit / 2;
  for (int64_t index = 0; index < inner_words_; ++index) {
    const int64_t first = index / kColumns * kSplit + index % kColumns, second = first + kColumns;
    for (int64_t column = 0; column < rows.columns; column += kColumns) {
      float values[kSplit] = {}, words[kColumns * kMostParts];
      const int64_t count = std::min(kColumns, rows.columns - column);
      if (first < rows.rows) std::copy_n(rows.data + first * rows.stride + column, count, values);
      if (second < rows.rows) std::copy_n(rows.data + second * rows.stride + column, count, values + kColumns);
      current()->kernel->split(values, 1, current()->parts(), words, kColumns);
      note_parts({words, 1, count, kColumns * kMostParts});
      for (int part = 0; part < parts_; ++part)
        std::copy_n(words + part * kColumns, count, word(index, part, first_column + column));
    }
  }
}

/// Looks at the first words.columns words of each part of some rows, the parts kSplit / 2 words apart.
void Panels::note_parts(ConstMatrixView words) {
  const std::atomic_ref<int> needed(parts_needed_);
  for (int part = current()->parts() - 1; part >= needed.load(std::memory_order_relaxed); --part) {
    if (all_zero({words.data + part * kSplit / 2, words.rows, words.columns, words.stride})) continue;
    for (int before = needed.load(std::memory_order_relaxed); before <= part;)
      if (needed.compare_exchange_weak(before, part + 1, std::memory_order_relaxed)) break;
  }
}

int64_t left_stride(int64_t columns) {
  const Choice& choice = *current();
  return choice.kernel && choice.parts() == 0 && !choice.rounds() && columns <= kMostInner ? kLeftStride : columns;
}

void product(ConstMatrixView a, const Panels& b, MatrixView out) { product_part(a, b, 0, 0, out); }

void product_part(ConstMatrixView a, const Panels& b, int64_t first_inner, int64_t first_column, MatrixView out,
                  bool add) {
  const Choice& choice = *current();
  if (!choice.kernel) {
    thread_local Buffer left;
    if (choice.rounds()) {
      left.resize(a.rows * a.columns);
      for (int64_t r = 0; r < a.rows; ++r) round_row(a.data + r * a.stride, a.columns, left.data() + r * a.columns);
      a = {left.data(), a.rows, a.columns, a.columns};
    }
    return b.multiply_by_blas(a, first_inner, first_column, out, add);
  }
  const Kernel& kernel = *choice.kernel;
  // Few enough steps at a time for the copy of the rows to leave room in the second-level cache.
  const int64_t rows_at_once = std::min(a.rows, kLeftRows), step_words = words_of_row(kernel, kernel.step);
  const int64_t most_words = sums_go_on(kernel) ? std::min(kMostInner, kLeftWords / rows_at_once) : kMostInner;
  const int64_t steps = (a.columns + kernel.step - 1) / kernel.step, most_steps = most_words / step_words;
  const int64_t depths = (steps + most_steps - 1) / most_steps, depth = (steps + depths - 1) / depths * kernel.step;
  thread_local LeftSide copy;
  const bool as_it_is = a.stride == kLeftStride && left_stride(a.columns) == kLeftStride;
  for (int64_t row = 0; row < a.rows; row += kLeftRows) {
    const int64_t rows = std::min(kLeftRows, a.rows - row);
    const MatrixView to{out.data + row * out.stride, rows, out.columns, out.stride};
    for (int64_t begin = 0; begin < a.columns; begin += depth) {
      const int64_t inner = std::min(depth, a.columns - begin);
      const float* from = a.data + row * a.stride + begin;
      const bool add_here = add || begin > 0;
      if (as_it_is) {
        b.multiply(from, kLeftStride, first_inner + begin, inner, first_column, to, add_here);
        continue;
      }
      copy.reset(rows, inner);
      for (int64_t r = 0; r < rows; ++r) copy.set_row(r, from + r * a.stride);
      product_part(copy, b, first_inner + begin, first_column, to, add_here);
    }
  }
}

void LeftSide::reset(int64_t rows, int64_t columns) {
  const Kernel* kernel = current()->kernel;
  columns_ = columns;
  stride_ = !kernel ? columns : kernel->left_rows == 1 ? kLeftStride : words_of_row(*kernel, columns);
  const int64_t group = kernel ? kernel->left_rows : 1;
  words_.resize((rows + group - 1) / group * group * stride_);
}

void LeftSide::set_row(int64_t row, const float* values) {
  const Choice& choice = *current();
  const int64_t group = choice.kernel ? choice.kernel->left_rows : 1;
  fill_row(choice, choice.parts(), values, columns_,
           words_.data() + (row - row % group) * stride_ + row % group * (kSplit / 2), group * (kSplit / 2));
}

void product_part(const LeftSide& a, const Panels& b, int64_t first_inner, int64_t first_column, MatrixView out,
                  bool add) {
  if (current()->kernel) return b.multiply(a.words_.data(), a.stride_, first_inner, a.columns_, first_column, out, add);
  b.multiply_by_blas({a.words_.data(), out.rows, a.columns_, a.stride_}, first_inner, first_column, out, add);
}

/// Rows of the left side as the kernel takes them.
void Panels::multiply(const float* left, int64_t left_stride, int64_t first_inner, int64_t inner, int64_t first_column,
                      const MatrixView& out, bool add) const {
  const Kernel& kernel = *current()->kernel;
  if (kernel.prepare) kernel.prepare();
  const MicroKernel* micro = kernel.micro[static_cast<size_t>(parts_needed_ - 1)];
  // The pieces of a panel's column are as long as each other. One that is read once only need not be in the first-level
  // cache.
  const int64_t steps = (inner + kernel.step - 1) / kernel.step, whole = steps * kernel.step;
  const bool once = out.rows <= kernel.rows && sums_go_on(kernel);
  const int64_t pieces = once ? 1 : (whole + kernel.panel_values - 1) / kernel.panel_values;
  const int64_t piece = (steps + pieces - 1) / pieces * kernel.step;
  const auto words = [&](int64_t values) { return kernel.words(values) * parts_ * width_; };
  for (int64_t column = 0; column < out.columns; column += width_) {
    const float* panel = this->panel((first_column + column) / width_) + words(first_inner);
    for (int64_t begin = 0; begin < whole; begin += piece) {
      const bool last = begin + piece >= whole, very_last = last && column + width_ >= out.columns;
      MicroWork work{};
      work.left = left + words_of_row(kernel, begin) * kernel.left_rows;
      work.left_stride = left_stride;
      work.panel = panel + words(begin);
      work.panel_step = words(kernel.step);
      work.inner = std::min(piece, whole - begin);
      work.out = out.data + column;
      work.out_stride = out.stride;
      work.add = add || begin > 0;
      work.ahead = last ? panel + panel_words() : panel + words(begin + piece);
      // What a few rows read once comes from near anyway: a head's keys and values.
      const int64_t ahead_lines = very_last || out.rows <= kFewRows ? 0 : words(piece) / kLine;
      multiply_panel(kernel, micro, work, ahead_lines, out.rows, std::min(width_, out.columns - column));
    }
  }
}

void Panels::multiply_by_blas(ConstMatrixView left, int64_t first_inner, int64_t first_column, const MatrixView& out,
                              bool add) const {
  const ConstMatrixView right(words_.data() + first_inner * width_ + first_column, left.columns, out.columns, width_);
  if (!add) return spikescope::multiply(left, right, out);
  thread_local Buffer products;
  products.resize(out.rows * out.columns);
  spikescope::multiply(left, right, {products.data(), out.rows, out.columns, out.columns});
  for (int64_t r = 0; r < out.rows; ++r)
    for (int64_t i = 0; i < out.columns; ++i) out.data[r * out.stride + i] += products[r * out.columns + i];
}

void product_on_all_threads(ConstMatrixView a, const Panels& b, MatrixView out) {
  constexpr int64_t kPiecesAThread = 4;
  const Kernel* kernel = current()->kernel;
  if (!kernel || in_parallel()) return product(a, b, out);  // a BLAS has threads of its own
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

bool sums_go_on() { return current()->kernel && sums_go_on(*current()->kernel); }

int64_t product_rows() { return current()->kernel ? current()->kernel->rows : 16; }

Dtype product_dtype() { return current()->dtype; }

int64_t rows_of_a_piece(int64_t rows) {
  constexpr int64_t kLeast = 28, kPiecesAThread = 4, kMostForBlas = 64;
  const int64_t wished = kPiecesAThread * threads();
  const int64_t most = current()->kernel ? current()->kernel->piece_rows : kMostForBlas;
  return std::clamp((rows + wished - 1) / wished, std::min(kLeast, most), most);
}

void for_row_pieces(int64_t rows, const std::function<void(int64_t first, int64_t count)>& work) {
  const int64_t size = rows_of_a_piece(rows);
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
      value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      if (current()->dtype == Dtype::bfloat16) value = rounded(value);
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
