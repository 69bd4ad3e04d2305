#include "stats/spectrum.h"

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/vectorized.h"

namespace spikescope {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatRows = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// Eight doubles of an array, in as many registers as the processor needs for them.
using Lane = double __attribute__((vector_size(64), aligned(8), may_alias));
/// Directions and vectors whose products are summed in registers together.
constexpr int64_t kRows = 4, kLanes = 2, kPiece = 8 * kLanes;

/// Adds to energies[r] the sum over a piece of kPiece vectors of scale[i] (v_r . x_i)^2, for kRows directions v_r
/// [kRows, n]; x [n, kPiece].
SPIKESCOPE_VECTORIZED
void add_energies(const double* directions, int64_t n, const double* x, const double* scale, double* energies) {
  const auto* lanes = reinterpret_cast<const Lane*>(x);
  const double *v0 = directions, *v1 = v0 + n, *v2 = v1 + n, *v3 = v2 + n;
  Lane a0 = {}, a1 = {}, b0 = {}, b1 = {}, c0 = {}, c1 = {}, d0 = {}, d1 = {};
  for (int64_t k = 0; k < n; ++k) {
    const Lane &x0 = lanes[kLanes * k], &x1 = lanes[kLanes * k + 1];
    a0 += v0[k] * x0;
    a1 += v0[k] * x1;
    b0 += v1[k] * x0;
    b1 += v1[k] * x1;
    c0 += v2[k] * x0;
    c1 += v2[k] * x1;
    d0 += v3[k] * x0;
    d1 += v3[k] * x1;
  }
  const Lane& s0 = *reinterpret_cast<const Lane*>(scale);
  const Lane& s1 = *reinterpret_cast<const Lane*>(scale + 8);
  const Lane sums[kRows] = {a0 * a0 * s0 + a1 * a1 * s1, b0 * b0 * s0 + b1 * b1 * s1, c0 * c0 * s0 + c1 * c1 * s1,
                            d0 * d0 * s0 + d1 * d1 * s1};
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t i = 0; i < 8; ++i) energies[r] += sums[r][i];
}

}  // namespace

Spectrum::Spectrum(std::span<const float> values, int64_t rows, int64_t columns) : columns_(columns) {
  // The directions of the inputs are the right singular vectors: of the transposed matrix the left ones, which is what
  // Eigen finds with less work where there are more columns than rows.
  const Eigen::MatrixXd transposed = FloatRows(values.data(), rows, columns).cast<double>().transpose();
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(transposed, Eigen::ComputeThinU);
  const Eigen::VectorXd& singular = svd.singularValues();
  singular_values_.assign(singular.data(), singular.data() + singular.size());
  // Rows of zeros fill the last group up.
  directions_.resize(static_cast<size_t>((rank() + kRows - 1) / kRows * kRows * columns));
  Eigen::Map<RowMajor>(directions_.data(), rank(), columns) = svd.matrixU().transpose();
}

int64_t Spectrum::leading(double share) const {
  double all = 0.0, sum = 0.0;
  for (const double value : singular_values_) all += value * value;
  for (int64_t r = 0; r < rank(); ++r) {
    if (sum >= share * all) return r;
    sum += singular_values_[static_cast<size_t>(r)] * singular_values_[static_cast<size_t>(r)];
  }
  return rank();
}

std::vector<double> Spectrum::energy(std::span<const float> vectors) const {
  const int64_t n = static_cast<int64_t>(vectors.size()) / columns_;
  std::vector<double> energies(directions_.size() / static_cast<size_t>(columns_));
  std::vector<double> x(static_cast<size_t>(columns_ * kPiece));  // [columns, kPiece]
  int64_t counted = 0;
  for (int64_t first = 0; first < n; first += kPiece) {
    std::fill(x.begin(), x.end(), 0.0);
    double scale[kPiece] = {};  // 1 / ||x||^2; 0 where there is no vector
    for (int64_t i = 0; i < std::min(kPiece, n - first); ++i) {
      const float* vector = vectors.data() + (first + i) * columns_;
      double square = 0.0;
      for (int64_t k = 0; k < columns_; ++k) {
        const auto value = static_cast<double>(vector[k]);
        x[static_cast<size_t>(kPiece * k + i)] = value;
        square += value * value;
      }
      if (square == 0.0) continue;
      scale[i] = 1.0 / square;
      ++counted;
    }
    for (size_t r = 0; r < energies.size(); r += kRows)
      add_energies(directions_.data() + r * static_cast<size_t>(columns_), columns_, x.data(), scale, &energies[r]);
  }
  std::vector<double> curve;
  double sum = 0.0;
  for (int64_t r = 0; r < rank(); ++r) {
    sum += energies[static_cast<size_t>(r)];
    curve.push_back(counted > 0 ? sum / static_cast<double>(counted) : std::numeric_limits<double>::quiet_NaN());
  }
  return curve;
}

}  // namespace spikescope
