// How much alike vectors are: the measures of convergence (README.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "analyses/token_vectors.h"

namespace spikescope {

/// A measure and its standard error over windows (stats/jackknife.h); NaN where undefined.
struct Estimate {
  double value, error;
};

struct Constancy {
  int64_t count = 0;    ///< vectors
  int64_t windows = 0;  ///< prompts with any of them
  /// Mean cosine of two different vectors, (||sum u||^2 - N) / (N (N - 1)) with u = x / ||x||; vectors of zeros left
  /// out. -1 / (N - 1) .. 1.
  Estimate cosine;
  /// sqrt(mean ||x - mean||^2) / ||mean||, from 0 (all the same) on.
  Estimate deviation;
};
Constancy measure_constancy(const TokenVectors& vectors);

/// Coefficient of variation, std / |mean| (std over N), of dimension `dim` of the vectors.
Estimate measure_variation(const TokenVectors& vectors, int64_t dim);

/// Mean cosine of the vectors with the mean of others of the same prompts; vectors of zeros left out. The jackknife
/// leaves a window's vectors and others out together.
Estimate measure_agreement(const TokenVectors& vectors, const TokenVectors& others);
/// Cosine of two vectors [d]; NaN where one is zero or NaN.
double cosine(std::span<const double> a, std::span<const double> b);

}  // namespace spikescope
