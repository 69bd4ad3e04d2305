#include "model/patch_embedding.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "model/linear.h"

namespace spikescope {
namespace {

double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

/// Weights of the `from` old places in new place `i` of `to`.
std::vector<double> resize_weights(int64_t i, int64_t from, int64_t to, bool antialias) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double center = (static_cast<double>(i) + 0.5) * scale - 0.5;
  std::vector<double> weights(static_cast<size_t>(from));
  if (!antialias) {
    const auto first = static_cast<int64_t>(std::floor(center)) - 1;
    for (int64_t j = first; j < first + 4; ++j)
      weights[static_cast<size_t>(std::clamp<int64_t>(j, 0, from - 1))] +=
          cubic(static_cast<double>(j) - center, -0.75);
    return weights;
  }
  const double stretch = std::max(scale, 1.0);
  double sum = 0.0;
  for (int64_t j = 0; j < from; ++j)
    sum += weights[static_cast<size_t>(j)] = cubic((static_cast<double>(j) - center) / stretch, -0.5);
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace

int64_t patch_count(const Patches& patches, int64_t side) {
  const int64_t grid = side / patches.size;
  return grid * grid;
}

std::vector<float> resized_positions(const std::vector<float>& table, int64_t from, int64_t to, int64_t d,
                                     bool antialias) {
  std::vector<std::vector<double>> weights;
  for (int64_t i = 0; i < to; ++i) weights.push_back(resize_weights(i, from, to, antialias));
  std::vector<float> resized(static_cast<size_t>(to * to * d));
  std::vector<double> sum(static_cast<size_t>(d));
  for (int64_t y = 0; y < to; ++y)
    for (int64_t x = 0; x < to; ++x) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t v = 0; v < from; ++v)
        for (int64_t u = 0; u < from; ++u) {
          const double weight = weights[static_cast<size_t>(y)][static_cast<size_t>(v)] *
                                weights[static_cast<size_t>(x)][static_cast<size_t>(u)];
          if (weight == 0.0) continue;
          const float* row = table.data() + (v * from + u) * d;
          for (int64_t i = 0; i < d; ++i) sum[static_cast<size_t>(i)] += weight * row[i];
        }
      std::copy(sum.begin(), sum.end(), resized.begin() + (y * to + x) * d);
    }
  return resized;
}

std::vector<float> patch_tokens(const ModelWeights& weights, const Pixels& pixels) {
  const Architecture& a = weights.architecture();
  const Patches& p = a.patches;
  const int64_t d = a.d_model, side = pixels.side, grid = side / p.size, count = grid * grid;
  const int64_t values = p.channels * p.size * p.size, tokens = image_tokens(p, side);
  Linear embedding;
  embedding.load(weights, {{{Role::patch_embedding}}}, {{{Role::b_patch_embedding}}});

  std::vector<float> special;
  for (const Role role : {Role::cls_token, Role::distillation_token, Role::register_tokens}) {
    const Weight token = weights.read(role);
    special.insert(special.end(), token.values.begin(), token.values.end());
  }
  std::vector<float> out(static_cast<size_t>(pixels.images * tokens * d)), cut(static_cast<size_t>(count * values));
  for (int64_t image = 0; image < pixels.images; ++image) {
    const float* from = pixels.values.data() + image * p.channels * side * side;
    float* to = out.data() + image * tokens * d;
    std::copy(special.begin(), special.end(), to);
    for (int64_t patch = 0; patch < count; ++patch)
      for (int64_t row = 0; row < p.channels * p.size; ++row) {
        const int64_t channel = row / p.size, y = patch / grid * p.size + row % p.size, x = patch % grid * p.size;
        std::copy_n(from + (channel * side + y) * side + x, p.size, cut.data() + patch * values + row * p.size);
      }
    embedding({cut.data(), count, values, values}, {to + p.special() * d, count, d, d});
  }
  return out;
}

std::vector<float> patch_positions(const ModelWeights& weights, int64_t side) {
  const Architecture& a = weights.architecture();
  const Patches& p = a.patches;
  const int64_t d = a.d_model, from = p.image / p.size, to = side / p.size;
  if (side != p.image && p.resize == Patches::Resize::refuse)
    fail("the images have {0} x {0} pixels, but the model takes {1} x {1}", side, p.image);
  const std::vector<float> table = weights.read(Role::position_embedding).values;
  std::vector<float> grid(table.begin() + p.placed() * d, table.end());
  if (side != p.image) grid = resized_positions(grid, from, to, d, p.resize == Patches::Resize::bicubic_antialias);
  std::vector<float> positions(table.begin(), table.begin() + p.placed() * d);
  positions.resize(static_cast<size_t>(p.special() * d), 0.0f);
  positions.insert(positions.end(), grid.begin(), grid.end());
  return positions;
}

}  // namespace spikescope
