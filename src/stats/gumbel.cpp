#include "stats/gumbel.h"

#include <algorithm>
#include <cmath>

namespace spikescope {
namespace {

/// Between the two nearest of sorted values.
double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// Where the standard Gumbel distribution has its quantile.
double standard_quantile(double q) { return -std::log(-std::log(q)); }

}  // namespace

double Gumbel::surprise(double x) const {
  if (scale <= 0.0 || !std::isfinite(x)) return 0.0;
  const double y = (x - location) / scale;
  // Far out 1 - exp(-exp(-y)) is exp(-y), whose logarithm needs no such small numbers.
  return y > 30.0 ? y : -std::log(-std::expm1(-std::exp(-y)));
}

Gumbel fit_gumbel(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.size() < 4) return {};
  std::sort(values.begin(), values.end());
  const double scale =
      (quantile(values, 0.75) - quantile(values, 0.25)) / (standard_quantile(0.75) - standard_quantile(0.25));
  return {quantile(values, 0.5) - scale * standard_quantile(0.5), scale};
}

double log_probability_of_sum(int64_t count, double sum) {
  if (sum <= 0.0) return 0.0;
  // exp(-sum) times the sum over k < count of sum^k / k!, from its largest term on so that nothing overflows.
  std::vector<double> terms;
  for (int64_t k = 0; k < count; ++k)
    terms.push_back(static_cast<double>(k) * std::log(sum) - std::lgamma(static_cast<double>(k) + 1.0));
  const double largest = *std::max_element(terms.begin(), terms.end());
  double rest = 0.0;
  for (const double term : terms) rest += std::exp(term - largest);
  return std::min(0.0, largest + std::log(rest) - sum);
}

}  // namespace spikescope
