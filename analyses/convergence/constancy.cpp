#include "analyses/convergence/constancy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "stats/jackknife.h"

namespace spikescope {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// Sums over vectors that determine the measures; of a window, or of several.
struct Sums {
  std::vector<double> vectors, units;
  double squares = 0.0;
  int64_t count = 0, unit_count = 0;

  explicit Sums(int64_t d) : vectors(static_cast<size_t>(d)), units(static_cast<size_t>(d)) {}

  void add(std::span<const float> x) {
    double square = 0.0;
    for (const float value : x) square += static_cast<double>(value) * value;
    const double inverse = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
    for (size_t dim = 0; dim < x.size(); ++dim) {
      vectors[dim] += x[dim];
      units[dim] += inverse * x[dim];
    }
    squares += square;
    ++count;
    unit_count += square > 0.0;
  }
  void add(const Sums& other) {
    for (size_t dim = 0; dim < vectors.size(); ++dim) {
      vectors[dim] += other.vectors[dim];
      units[dim] += other.units[dim];
    }
    squares += other.squares;
    count += other.count;
    unit_count += other.unit_count;
  }
};

/// ||all - part||^2; `part` may be nullptr.
double square_without(const std::vector<double>& all, const std::vector<double>* part) {
  double sum = 0.0;
  for (size_t dim = 0; dim < all.size(); ++dim) {
    const double value = all[dim] - (part ? (*part)[dim] : 0.0);
    sum += value * value;
  }
  return sum;
}

double cosine_without(const Sums& all, const Sums* part) {
  const auto n = static_cast<double>(all.unit_count - (part ? part->unit_count : 0));
  if (n < 2) return kUndefined;
  return (square_without(all.units, part ? &part->units : nullptr) - n) / (n * (n - 1));
}

double deviation_without(const Sums& all, const Sums* part) {
  const auto n = static_cast<double>(all.count - (part ? part->count : 0));
  const double mean_square = square_without(all.vectors, part ? &part->vectors : nullptr) / (n * n);
  if (n < 2 || mean_square <= 0.0) return kUndefined;
  const double spread = (all.squares - (part ? part->squares : 0.0)) / n - mean_square;
  return std::sqrt(std::max(0.0, spread) / mean_square);
}

/// [prompts].
std::vector<Sums> window_sums(const TokenVectors& vectors) {
  std::vector<Sums> windows;
  for (int64_t prompt = 0; prompt < vectors.n_prompts(); ++prompt) {
    windows.emplace_back(vectors.d);
    const auto index = static_cast<size_t>(prompt);
    for (int64_t i = vectors.offsets[index]; i < vectors.offsets[index + 1]; ++i) windows.back().add(vectors[i]);
  }
  return windows;
}

struct ScalarSums {
  double sum = 0.0, squares = 0.0, count = 0.0;
};

double variation(const ScalarSums& s) {
  const double mean = s.sum / s.count;
  if (s.count < 2 || mean == 0.0) return kUndefined;
  return std::sqrt(std::max(0.0, s.squares / s.count - mean * mean)) / std::abs(mean);
}

}  // namespace

Constancy measure_constancy(const TokenVectors& vectors) {
  std::vector<Sums> windows = window_sums(vectors);
  std::erase_if(windows, [](const Sums& window) { return window.count == 0; });
  Sums all(vectors.d);
  for (const Sums& window : windows) all.add(window);
  std::vector<double> cosines, deviations;
  for (const Sums& window : windows) {
    cosines.push_back(cosine_without(all, &window));
    deviations.push_back(deviation_without(all, &window));
  }
  return {all.count,
          static_cast<int64_t>(windows.size()),
          {cosine_without(all, nullptr), jackknife_error(cosines)},
          {deviation_without(all, nullptr), jackknife_error(deviations)}};
}

Estimate measure_variation(const TokenVectors& vectors, int64_t dim) {
  std::vector<ScalarSums> windows;
  ScalarSums all;
  for (int64_t prompt = 0; prompt < vectors.n_prompts(); ++prompt) {
    ScalarSums window;
    for (int64_t i = vectors.offsets[static_cast<size_t>(prompt)]; i < vectors.offsets[static_cast<size_t>(prompt) + 1];
         ++i) {
      const double value = vectors[i][static_cast<size_t>(dim)];
      window = {window.sum + value, window.squares + value * value, window.count + 1};
    }
    if (window.count == 0) continue;
    windows.push_back(window);
    all = {all.sum + window.sum, all.squares + window.squares, all.count + window.count};
  }
  std::vector<double> left_out;
  for (const ScalarSums& window : windows)
    left_out.push_back(variation({all.sum - window.sum, all.squares - window.squares, all.count - window.count}));
  return {variation(all), jackknife_error(left_out)};
}

Estimate measure_agreement(const TokenVectors& vectors, const TokenVectors& others) {
  const std::vector<Sums> own = window_sums(vectors), reference = window_sums(others);
  Sums all(vectors.d), all_reference(others.d);
  for (const Sums& window : own) all.add(window);
  for (const Sums& window : reference) all_reference.add(window);
  const auto without = [&](const Sums* part, const Sums* reference_part) {
    const auto n = static_cast<double>(all.unit_count - (part ? part->unit_count : 0));
    double product = 0.0;
    for (size_t dim = 0; dim < all.units.size(); ++dim)
      product += (all.units[dim] - (part ? part->units[dim] : 0.0)) *
                 (all_reference.vectors[dim] - (reference_part ? reference_part->vectors[dim] : 0.0));
    const double square = square_without(all_reference.vectors, reference_part ? &reference_part->vectors : nullptr);
    return n > 0 && square > 0.0 ? product / (n * std::sqrt(square)) : kUndefined;
  };
  std::vector<double> left_out;
  for (size_t window = 0; window < own.size(); ++window)
    if (own[window].count + reference[window].count > 0) left_out.push_back(without(&own[window], &reference[window]));
  return {without(nullptr, nullptr), jackknife_error(left_out)};
}

double cosine(std::span<const double> a, std::span<const double> b) {
  double product = 0.0, a_square = 0.0, b_square = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += a[i] * b[i];
    a_square += a[i] * a[i];
    b_square += b[i] * b[i];
  }
  return a_square > 0.0 && b_square > 0.0 ? product / std::sqrt(a_square * b_square) : kUndefined;
}

}  // namespace spikescope
