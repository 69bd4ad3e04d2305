#include "quant/rotation.h"

#include <Eigen/QR>
#include <array>
#include <cmath>
#include <random>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"
#include "io/printable.h"

namespace spikescope {
namespace {

// Indexed by RotationKind.
constexpr std::array kNames = {
    RotationName{RotationKind::none, "none", "as they are"},
    RotationName{RotationKind::hadamard, "hadamard", "Hadamard with random signs, times a small random rotation"},
    RotationName{RotationKind::random, "random", "random orthogonal"},
};

/// Q of the QR decomposition of a Gaussian matrix, with R's diagonal positive: Haar measure (Mezzadri 2007).
Eigen::MatrixXd random_orthogonal(int64_t size, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Eigen::MatrixXd gaussian(size, size);
  for (int64_t column = 0; column < size; ++column)
    for (int64_t row = 0; row < size; ++row) gaussian(row, column) = normal(random);
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(gaussian);
  Eigen::MatrixXd q = qr.householderQ();
  for (int64_t column = 0; column < size; ++column)
    if (qr.matrixQR()(column, column) < 0.0) q.col(column) = -q.col(column);
  return q;
}

/// H x, not scaled: butterflies in place.
SPIKESCOPE_VECTORIZED
void hadamard(float* x, int64_t size) {
  for (int64_t half = 1; half < size; half *= 2)
    for (int64_t begin = 0; begin < size; begin += 2 * half) {
      float *const a = x + begin, *const b = a + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        const float sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
      }
    }
}

SPIKESCOPE_VECTORIZED
void multiply_by(const float* factors, int64_t count, float* x) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] *= factors[i];
}

SPIKESCOPE_VECTORIZED
void add_multiple(const float* from, float factor, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

/// Calls work(row) for all rows, on all threads.
template <class Work>
void for_rows(const TensorView& rows, const Work& work) {
  constexpr int64_t kRowsAPiece = 32;
  parallel_for((rows.rows() + kRowsAPiece - 1) / kRowsAPiece, [&](int64_t piece) {
    const int64_t end = std::min(rows.rows(), (piece + 1) * kRowsAPiece);
    for (int64_t row = piece * kRowsAPiece; row < end; ++row) work(rows.row(row));
  });
}

}  // namespace

std::span<const RotationName> rotation_names() { return kNames; }

RotationKind find_rotation(std::string_view name, const std::string& what) {
  for (const RotationName& row : kNames)
    if (row.name == name) return row.kind;
  fail("{}: there is no rotation '{}'; there are none, hadamard and random", what, printable(name, 40));
}

Rotation::Rotation(RotationKind kind, int64_t size, uint64_t seed) : size_(size), block_(1) {
  std::mt19937_64 random(seed);
  if (kind == RotationKind::hadamard)
    while (size % (2 * block_) == 0) block_ *= 2;
  signs_.assign(static_cast<size_t>(size), 1.0f);
  if (kind == RotationKind::none) return;
  const int64_t odd = size / block_;
  if (odd > kMostRandom)
    fail_usage("a random rotation of {} values takes too long; {}", odd,
               kind == RotationKind::random ? "choose hadamard" : "their number has no large power of two in it");
  const float scale = 1.0f / std::sqrt(static_cast<float>(block_));
  for (float& sign : signs_) sign = random() >> 63 ? scale : -scale;
  const Eigen::MatrixXd q = random_orthogonal(odd, random);
  std::vector<float> values(static_cast<size_t>(odd * odd)), transposed(values.size());
  for (int64_t row = 0; row < odd; ++row)
    for (int64_t column = 0; column < odd; ++column)
      values[static_cast<size_t>(row * odd + column)] = transposed[static_cast<size_t>(column * odd + row)] =
          static_cast<float>(q(row, column));
  if (block_ > 1) {
    forth_ = std::move(values);
    back_ = std::move(transposed);
    return;
  }
  for (const bool undo : {false, true}) {
    dense_[undo] = std::make_unique<Panels>();
    dense_[undo]->reset(odd, odd);
    dense_[undo]->set_columns(0, {(undo ? transposed : values).data(), odd, odd, odd});
  }
}

/// x[i, :] := sum over j of matrix[i, j] x[j, :].
void Rotation::mix(const float* matrix, float* row, float* scratch) const {
  const int64_t odd = size_ / block_;
  if (odd == 1) return;
  std::fill_n(scratch, size_, 0.0f);
  for (int64_t i = 0; i < odd; ++i)
    for (int64_t j = 0; j < odd; ++j) add_multiple(row + j * block_, matrix[i * odd + j], block_, scratch + i * block_);
  std::copy_n(scratch, size_, row);
}

void Rotation::multiply(const Panels& matrix, const TensorView& rows) const {
  const int64_t n = rows.rows();
  std::vector<float> turned(static_cast<size_t>(n * size_));
  for_row_pieces(n, [&](int64_t first, int64_t count) {
    product({rows.row(first), count, size_, rows.row_stride}, matrix,
            {turned.data() + first * size_, count, size_, size_});
  });
  for (int64_t row = 0; row < n; ++row) std::copy_n(turned.data() + row * size_, size_, rows.row(row));
}

void Rotation::apply(const TensorView& rows) const {
  if (dense_[0]) {
    for_rows(rows, [&](float* row) { multiply_by(signs_.data(), size_, row); });
    return multiply(*dense_[0], rows);
  }
  if (forth_.empty()) return;
  for_rows(rows, [&](float* row) {
    thread_local std::vector<float> scratch;
    scratch.resize(static_cast<size_t>(size_));
    multiply_by(signs_.data(), size_, row);
    for (int64_t begin = 0; begin < size_; begin += block_) hadamard(row + begin, block_);
    mix(forth_.data(), row, scratch.data());
  });
}

void Rotation::undo(const TensorView& rows) const {
  if (dense_[1]) {
    multiply(*dense_[1], rows);
    return for_rows(rows, [&](float* row) { multiply_by(signs_.data(), size_, row); });
  }
  if (back_.empty()) return;
  for_rows(rows, [&](float* row) {
    thread_local std::vector<float> scratch;
    scratch.resize(static_cast<size_t>(size_));
    mix(back_.data(), row, scratch.data());
    for (int64_t begin = 0; begin < size_; begin += block_) hadamard(row + begin, block_);
    multiply_by(signs_.data(), size_, row);
  });
}

}  // namespace spikescope
