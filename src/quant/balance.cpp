#include "quant/balance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "base/parallel.h"

namespace spikescope {
namespace {

constexpr double kLeastShare = 0.01;  ///< of the root mean square
constexpr int64_t kChannelsAPiece = 64;

double root_mean_square(const std::vector<double>& values) {
  const double sum = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
  return values.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(values.size()));
}

/// The values with those that are too small raised; 1 where all are 0.
std::vector<double> raised(std::vector<double> values) {
  const double least = kLeastShare * root_mean_square(values);
  for (double& value : values) value = least > 0.0 ? std::max(value, least) : 1.0;
  return values;
}

}  // namespace

void ChannelMoments::add(const Activation& at, const std::vector<uint8_t>& left_out) {
  const int64_t rows = at.values.rows(), width = at.values.row_size();
  sums_.resize(static_cast<size_t>(width));
  squares_.resize(static_cast<size_t>(width));
  const auto counts = [&](int64_t row) { return left_out[static_cast<size_t>(at.first_row + row)] == 0; };
  // Threads share the channels, not the rows: each sum is taken in the order of the tokens.
  parallel_for((width + kChannelsAPiece - 1) / kChannelsAPiece, [&](int64_t piece) {
    const int64_t end = std::min(width, (piece + 1) * kChannelsAPiece);
    for (int64_t row = 0; row < rows; ++row) {
      if (!counts(row)) continue;
      const float* const values = at.values.row(row);
      for (int64_t i = piece * kChannelsAPiece; i < end; ++i) {
        const auto value = static_cast<double>(values[i]);
        sums_[static_cast<size_t>(i)] += value;
        squares_[static_cast<size_t>(i)] += value * value;
      }
    }
  });
  for (int64_t row = 0; row < rows; ++row) rows_ += counts(row);
}

std::vector<double> ChannelMoments::means() const {
  if (rows_ == 0) return {};
  std::vector<double> means = sums_;
  for (double& mean : means) mean /= static_cast<double>(rows_);
  return means;
}

std::vector<double> ChannelMoments::deviations() const {
  std::vector<double> deviations = means();
  for (size_t i = 0; i < deviations.size(); ++i) {
    const double square = squares_[i] / static_cast<double>(rows_);
    deviations[i] = std::sqrt(std::max(square - deviations[i] * deviations[i], 0.0));
  }
  return deviations;
}

std::vector<double> reading_norms(const ModelWeights& weights, Site site, int layer) {
  constexpr int64_t kRows = 64;
  const Architecture& a = weights.architecture();
  std::vector<double> squares;
  std::vector<float> rows;
  for (const WeightKey& key : weight_keys(a, layer)) {
    const LinearRole* const linear = linear_role(key.role);
    if (!linear) continue;
    // Experts and latent attention have matrices whose inputs are no site: then the others do not tell enough.
    if (!linear->site || a.latent) return {};
    if (site_read_by(a, *linear) != site) continue;
    const auto [count, columns] = weights.shape(key.role);
    const int64_t width = columns, all = count;
    squares.resize(static_cast<size_t>(width));
    for (int64_t first = 0; first < all; first += kRows) {
      const int64_t here = std::min(kRows, all - first);
      rows.resize(static_cast<size_t>(here * width));
      weights.read_rows(key, first, here, rows.data());
      for (size_t i = 0; i < rows.size(); ++i)
        squares[i % static_cast<size_t>(width)] += static_cast<double>(rows[i]) * static_cast<double>(rows[i]);
    }
  }
  for (double& square : squares) square = std::sqrt(square);
  return squares;
}

std::vector<uint32_t> channel_weights(const std::vector<double>& norms) {
  constexpr double kUnit = 1024.0, kMost = 4294967295.0;
  const double norm = root_mean_square(norms);
  if (!(norm > 0.0)) return {};
  std::vector<uint32_t> weights;
  for (const double value : norms)
    weights.push_back(
        static_cast<uint32_t>(std::clamp(std::nearbyint(kUnit * (value / norm) * (value / norm)), 1.0, kMost)));
  return weights;
}

ChannelBalance balance_of(const std::vector<double>& means, const std::vector<double>& deviations,
                          const std::vector<double>& norms) {
  if (means.size() != deviations.size() || (!norms.empty() && norms.size() != means.size()))
    fail("a balance of {} means, {} deviations and {} norms: expected as many of each", means.size(), deviations.size(),
         norms.size());
  ChannelBalance balance{{means.begin(), means.end()}, std::vector<float>(means.size(), 1.0f)};
  if (norms.empty()) return balance;
  const std::vector<double> s = raised(deviations), n = raised(norms);
  double before = 0.0, after = 0.0;
  for (size_t i = 0; i < s.size(); ++i) {
    before += s[i] * s[i];
    after += s[i] * n[i];
  }
  for (size_t i = 0; i < s.size(); ++i)
    balance.factors[i] = static_cast<float>(std::sqrt(n[i] / s[i] * before / after));
  return balance;
}

}  // namespace spikescope
