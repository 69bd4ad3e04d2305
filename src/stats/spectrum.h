// Singular values of a matrix, and how much of a vector lies in its leading singular directions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spikescope {

/// W = U S V^T of a matrix [rows, columns] in float64, computed from W itself (a Gram matrix would square the condition
/// number and lose the small singular values).
class Spectrum {
 public:
  /// `values` row-major, finite.
  Spectrum(std::span<const float> values, int64_t rows, int64_t columns);

  /// [rank], largest first; rank = min(rows, columns).
  const std::vector<double>& singular_values() const { return singular_values_; }
  int64_t rank() const { return static_cast<int64_t>(singular_values_.size()); }
  /// The smallest R whose leading singular values hold at least `share` (0 .. 1) of sum S^2; 0 for a matrix of zeros.
  int64_t leading(double share) const;

  /// C(R) = sum_{r <= R} (v_r . x)^2 / ||x||^2 for R = 1 .. rank, the mean over the vectors [n, columns] without those
  /// of zeros: from 0 up to the share of x in the row space, 1 where rank = columns. NaN without vectors.
  std::vector<double> energy(std::span<const float> vectors) const;

 private:
  int64_t columns_;
  std::vector<double> singular_values_;
  std::vector<double> directions_;  // [rank rounded up, columns]: v_r
};

}  // namespace spikescope
