#include "analyses/null_space/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "base/parallel.h"
#include "stats/spectrum.h"

namespace spikescope {
namespace {

/// How many multiplications of a projection take as long as one of a decomposition.
constexpr double kProjectionSpeed = 24.0;

}  // namespace

double decomposition_work(int64_t rows, int64_t columns, int64_t vectors) {
  const auto longer = static_cast<double>(std::max(rows, columns)),
             shorter = static_cast<double>(std::min(rows, columns));
  return longer * shorter * shorter +
         static_cast<double>(vectors) * shorter * static_cast<double>(columns) / kProjectionSpeed;
}

std::vector<Part> SpectrumPlan::parts(int64_t block) const {
  std::vector<Part> parts;
  const auto add = [&](size_t matrix, int64_t kv_head, int64_t first_row, int64_t rows) {
    parts.push_back({matrix, kv_head, first_row, rows, decomposition_work(rows, matrices[matrix].columns, vectors)});
  };
  for (size_t i = 0; i < matrices.size(); ++i) {
    const Matrix& matrix = matrices[i];
    if (std::binary_search(stacked[i].begin(), stacked[i].end(), block)) add(i, -1, 0, matrix.rows);
    for (int64_t kv = 0; kv < matrix.kv_heads; ++kv)
      add(i, kv, kv * (matrix.rows / matrix.kv_heads), matrix.rows / matrix.kv_heads);
  }
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.work > b.work; });
  return parts;
}

double SpectrumPlan::work(int64_t blocks, int threads) const {
  double sum = 0.0;
  for (int64_t block = 0; block < blocks; ++block) {
    std::vector<double> busy(static_cast<size_t>(threads));
    for (const Part& part : parts(block)) *std::min_element(busy.begin(), busy.end()) += part.work;
    sum += *std::max_element(busy.begin(), busy.end());
  }
  return sum;
}

std::vector<int64_t> by_interest(int64_t blocks, std::span<const Plateau> plateaus) {
  std::vector<int64_t> order;
  const auto add = [&](int64_t block) {
    if (block >= 0 && block < blocks && std::find(order.begin(), order.end(), block) == order.end())
      order.push_back(block);
  };
  // r_L, which a plateau may reach, is read by no block.
  const auto last = [&](const Plateau& plateau) { return std::min(plateau.last, blocks - 1); };
  for (const Plateau& plateau : plateaus) add((plateau.first + last(plateau)) / 2);
  add(blocks - 1);
  add(0);
  for (const Plateau& plateau : plateaus)
    for (const int64_t block : {plateau.first, plateau.first - 1, last(plateau), last(plateau) + 1}) add(block);
  for (int64_t parts = 2; static_cast<int64_t>(order.size()) < blocks; parts *= 2)
    for (int64_t i = 1; i < parts; i += 2) add(std::min(i * blocks / parts, blocks - 1));
  return order;
}

SpectrumPlan plan_spectra(std::vector<Matrix> matrices, int64_t blocks, int64_t vectors,
                          std::span<const Plateau> plateaus, const LayerChoice& chosen) {
  SpectrumPlan plan{std::move(matrices), {}, vectors};
  const std::vector<int64_t> order = by_interest(blocks, plateaus);
  for (const Matrix& matrix : plan.matrices) {
    if (chosen) {
      plan.stacked.push_back(chosen_blocks(chosen, blocks));
      continue;
    }
    // By the work, not by seconds: the same model has the same blocks on every machine.
    const auto allowed = static_cast<int64_t>(kStackedWork / decomposition_work(matrix.rows, matrix.columns, 0));
    const auto count = std::min(std::max(allowed, int64_t{1}), blocks);
    plan.stacked.emplace_back(order.begin(), order.begin() + count);
    std::sort(plan.stacked.back().begin(), plan.stacked.back().end());
  }
  return plan;
}

double seconds_of_work(int64_t side) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(side * side));
  for (float& value : values) value = normal(random);
  const auto began = std::chrono::steady_clock::now();
  parallel_for(threads(), [&](int64_t) { Spectrum(values, side, side); });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() /
         decomposition_work(side, side, 0);
}

}  // namespace spikescope
