#include "stats/spectrum.h"

#include <Eigen/SVD>
#include <cmath>
#include <limits>

namespace spikescope {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatRows = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// Vectors whose projections are in memory together.
constexpr int64_t kPiece = 256;

}  // namespace

Spectrum::Spectrum(std::span<const float> values, int64_t rows, int64_t columns) : columns_(columns) {
  // The directions of the inputs are the right singular vectors: of the transposed matrix the left ones, which is what
  // Eigen finds with less work where there are more columns than rows.
  const Eigen::MatrixXd transposed = FloatRows(values.data(), rows, columns).cast<double>().transpose();
  const Eigen::BDCSVD<Eigen::MatrixXd> svd(transposed, Eigen::ComputeThinU);
  const Eigen::VectorXd& singular = svd.singularValues();
  singular_values_.assign(singular.data(), singular.data() + singular.size());
  directions_.resize(static_cast<size_t>(rank() * columns));
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
  const Eigen::Map<const RowMajor> directions(directions_.data(), rank(), columns_);
  Eigen::VectorXd energies = Eigen::VectorXd::Zero(rank());
  int64_t counted = 0;
  for (int64_t first = 0; first < n; first += kPiece) {
    const int64_t count = std::min(kPiece, n - first);
    const Eigen::MatrixXd x = FloatRows(vectors.data() + first * columns_, count, columns_).cast<double>().transpose();
    const Eigen::MatrixXd projected = directions * x;
    for (int64_t i = 0; i < count; ++i) {
      const double square = x.col(i).squaredNorm();
      if (square == 0.0) continue;
      energies += projected.col(i).cwiseAbs2() / square;
      ++counted;
    }
  }
  std::vector<double> curve;
  double sum = 0.0;
  for (int64_t r = 0; r < rank(); ++r) {
    sum += energies[r];
    curve.push_back(counted > 0 ? sum / static_cast<double>(counted) : std::numeric_limits<double>::quiet_NaN());
  }
  return curve;
}

}  // namespace spikescope
