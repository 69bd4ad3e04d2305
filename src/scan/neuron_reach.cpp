#include "scan/neuron_reach.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parallel.h"

namespace spikescope {
namespace {

/// How far below zero an activation goes, rounded up; indexed by Activator.
constexpr std::array kDip = {0.27847, 0.16998, 0.17005, 0.16381, 0.0};
static_assert(kDip.size() == static_cast<size_t>(Activator::relu) + 1);

/// A row of a first matrix as the normed input n meets it: row.n + constant.
struct FoldedRow {
  std::vector<double> row;
  double constant = 0.0;
};

void fold(const MlpInput& input, const std::vector<float>& matrix, const std::vector<float>& bias, int64_t neuron,
          FoldedRow& folded) {
  const float* weights = matrix.data() + neuron * input.d;
  const auto d = static_cast<size_t>(input.d);
  folded.row.resize(d);
  folded.constant = bias.empty() ? 0.0 : bias[static_cast<size_t>(neuron)];
  double sum = 0.0;
  for (size_t i = 0; i < d; ++i) {
    folded.row[i] = static_cast<double>(weights[i]) * (input.gain.empty() ? 1.0 : input.gain[i]);
    if (!input.shift.empty()) folded.constant += static_cast<double>(weights[i]) * input.shift[i];
    sum += folded.row[i];
  }
  if (!input.centered) return;
  const double mean = sum / static_cast<double>(input.d);
  for (double& value : folded.row) value -= mean;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

NeuronReach gated_reach(const FoldedRow& g, const FoldedRow& u, double d, double dip) {
  const double gg = dot(g.row, g.row), uu = dot(u.row, u.row), gu = dot(g.row, u.row), both = std::sqrt(gg * uu);
  const double mixed = g.constant * g.constant * uu + u.constant * u.constant * gg + 2.0 * g.constant * u.constant * gu;
  const double slope = std::sqrt(d * std::max(mixed, 0.0)), constant = g.constant * u.constant;
  const double below = dip * (std::sqrt(d * uu) + std::abs(u.constant));
  return {std::max(below, d * (both + gu) / 2.0 + slope + constant),
          std::max(below, d * (both - gu) / 2.0 + slope - constant)};
}

}  // namespace

std::vector<NeuronReach> neuron_reaches(const MlpInput& input) {
  const auto width = static_cast<int64_t>(input.up.size()) / input.d;
  const auto d = static_cast<double>(input.d);
  const double dip = kDip[static_cast<size_t>(input.activation)];
  std::vector<NeuronReach> reaches(static_cast<size_t>(width));
  constexpr int64_t kPiece = 64;
  parallel_for((width + kPiece - 1) / kPiece, [&](int64_t piece) {
    FoldedRow gate, up;
    for (int64_t j = piece * kPiece; j < std::min(width, (piece + 1) * kPiece); ++j) {
      fold(input, input.up, input.up_bias, j, up);
      NeuronReach& reach = reaches[static_cast<size_t>(j)];
      if (input.gate.empty()) {
        reach = {std::max(0.0, std::sqrt(d * dot(up.row, up.row)) + up.constant), dip};
      } else {
        fold(input, input.gate, input.gate_bias, j, gate);
        reach = gated_reach(gate, up, d, dip);
      }
    }
  });
  return reaches;
}

}  // namespace spikescope
