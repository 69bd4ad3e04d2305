#include "model/product.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"
#include "model/kernels.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

/// The left side is taken in copies of this many rows (and kMostInner columns), which the micro-kernels like and the
/// second-level cache holds. All of them pass by this many rows of a panel, which the first-level cache holds.
constexpr int64_t kLeftRows = 112, kPanelRows = 128;
constexpr int64_t kMostRows = 14, kMostColumns = 32;  // of the kernels there are

struct Choice {
  std::string_view name;  // in SPIKESCOPE_KERNEL
  const Kernel* kernel;   // null: LibTorch's BLAS
  bool (*available)();
};

constexpr std::array kChoices = {
#if defined(__x86_64__)
    Choice{"avx512", &kAvx512Kernel, [] { return __builtin_cpu_supports("avx512f") != 0; }},
    Choice{"avx2", &kAvx2Kernel,
           [] { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }},
#endif
    Choice{"blas", nullptr, [] { return true; }},
};

const Choice& choice_named(const std::string& name) {
  for (const Choice& choice : kChoices)
    if (choice.name == name && choice.available()) return choice;
  std::string names;
  for (const std::string& known : product_kernels()) names += (names.empty() ? "" : ", ") + known;
  fail("SPIKESCOPE_KERNEL={}: this machine has {}", name, names);
}

const Choice*& current() {
  static const Choice* choice = [] {
    const char* name = std::getenv("SPIKESCOPE_KERNEL");
    if (name && *name) return &choice_named(name);
    return &*std::find_if(kChoices.begin(), kChoices.end(), [](const Choice& c) { return c.available(); });
  }();
  return choice;
}

const Kernel* kernel() { return current()->kernel; }

SPIKESCOPE_VECTORIZED
void copy_rows(ConstMatrixView rows, float* left) {
  for (int64_t r = 0; r < rows.rows; ++r) {
    const float* from = rows.data + r * rows.stride;
    float* to = left + r * kLeftStride;
#pragma omp simd
    for (int64_t i = 0; i < rows.columns; ++i) to[i] = from[i];
  }
}

/// `rows` copied rows times one panel, `inner` deep. The rows are dealt out evenly to micro-kernels: a last one with
/// one or two rows would be as slow as a full one.
void multiply_panel(const Kernel& kernel, const float* left, const float* panel, int64_t inner, const MatrixView& out,
                    bool add) {
  const int64_t pieces = (out.rows + kernel.rows - 1) / kernel.rows;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = piece * out.rows / pieces, rows = (piece + 1) * out.rows / pieces - first;
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

void Panels::reset(int64_t inner, int64_t columns) {
  inner_ = inner;
  columns_ = columns;
  width_ = kernel() ? kernel()->columns : columns;
  const int64_t panels = (columns + width_ - 1) / width_;
  values_.resize(panels * inner * width_);
  if (const int64_t used = columns % width_; used != 0)
    for (int64_t i = 0; i < inner; ++i) std::fill_n(panel(panels - 1) + i * width_ + used, width_ - used, 0.0f);
}

void Panels::set_columns(int64_t first, ConstMatrixView rows) {
  // Sixteen values of a row at a time: the lines they are spread over are still there when the next row comes.
  constexpr int64_t kStep = 16;
  for (int64_t begin = 0; begin < inner_; begin += kStep) {
    const int64_t end = std::min(begin + kStep, inner_);
    for (int64_t row = 0; row < rows.rows; ++row) {
      const int64_t column = first + row;
      float* to = panel(column / width_) + column % width_;
      const float* from = rows.data + row * rows.stride;
      for (int64_t i = begin; i < end; ++i) to[i * width_] = from[i];
    }
  }
}

void Panels::set_rows(int64_t first, ConstMatrixView rows) {
  for (int64_t column = 0; column < columns_; column += width_) {
    const size_t bytes = static_cast<size_t>(std::min(width_, columns_ - column)) * sizeof(float);
    for (int64_t row = 0; row < rows.rows; ++row)
      std::memcpy(panel(column / width_) + (first + row) * width_, rows.data + row * rows.stride + column, bytes);
  }
}

void product(ConstMatrixView a, const Panels& b, MatrixView out) {
  const Kernel* const own = kernel();
  if (!own) {
    multiply(a, {b.values_.data(), a.columns, out.columns, b.width_}, out);
    return;
  }
  thread_local Buffer left(kLeftRows * kLeftStride);
  for (int64_t row = 0; row < a.rows; row += kLeftRows) {
    const int64_t rows = std::min(kLeftRows, a.rows - row);
    for (int64_t begin = 0; begin < a.columns; begin += kMostInner) {
      const int64_t inner = std::min(kMostInner, a.columns - begin);
      copy_rows({a.data + row * a.stride + begin, rows, inner, a.stride}, left.data());
      for (int64_t column = 0; column < out.columns; column += own->columns) {
        const MatrixView part{out.data + row * out.stride + column, rows, std::min(own->columns, out.columns - column),
                              out.stride};
        const float* panel = b.panel(column / own->columns) + begin * own->columns;
        for (int64_t step = 0; step < inner; step += kPanelRows)
          multiply_panel(*own, left.data() + step, panel + step * own->columns, std::min(kPanelRows, inner - step),
                         part, begin + step > 0);
      }
    }
  }
}

std::string product_kernel() { return std::string(kernel() ? kernel()->name : "BLAS"); }

void choose_product_kernel(const std::string& name) { current() = &choice_named(name); }

std::vector<std::string> product_kernels() {
  std::vector<std::string> names;
  for (const Choice& choice : kChoices)
    if (choice.available()) names.emplace_back(choice.name);
  return names;
}

void for_row_pieces(int64_t rows, const std::function<void(int64_t first, int64_t count)>& work) {
  constexpr int64_t kLeast = 28, kPiecesAThread = 4;
  const int64_t wished = kPiecesAThread * threads();
  const int64_t size = std::clamp((rows + wished - 1) / wished, kLeast, kRowsAPiece);
  const int64_t pieces = (rows + size - 1) / size;
  if (pieces <= 1) {  // a BLAS then has the threads for itself
    if (rows > 0) work(0, rows);
    return;
  }
  const SerialProducts serial;
  parallel_for(pieces, [&](int64_t piece) {
    const int64_t first = piece * rows / pieces;
    work(first, (piece + 1) * rows / pieces - first);
  });
}

double product_error() {
  const int64_t m = 130, k = 200, n = 150;
  std::vector<float> a(m * k), b(n * k), out(m * n);
  // Values of both signs without a pattern: a linear congruence will do.
  uint32_t state = 1;
  for (auto* values : {&a, &b})
    for (float& value : *values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
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

void check_products() {
  const double error = product_error();
  if (error <= 1.0) return;
  const bool blas_computes = kernel() == nullptr;
  fail("{} computes wrong matrix products on this processor (error {:.3g} times what rounding explains); {}",
       blas_computes ? blas().name : product_kernel(), error,
       blas_computes ? "set OPENBLAS_CORETYPE (e.g. Haswell) or install another BLAS"
                     : "set SPIKESCOPE_KERNEL=blas to compute with LibTorch's BLAS");
}

}  // namespace spikescope
