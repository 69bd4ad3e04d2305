#include "analyses/rope_bands/block_bands.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analyses/projections.h"
#include "base/parallel.h"

namespace spikescope {
namespace {

using Vector = std::vector<double>;

double squares(const Vector& x) { return std::inner_product(x.begin(), x.end(), x.begin(), 0.0); }

void add(const Vector& from, double factor, Vector& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] += factor * from[i];
}

Vector times(Vector values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

/// Sums over the ordinary tokens of some windows.
struct Sums {
  double tokens = 0.0;
  std::vector<Vector> queries, keys;  ///< [heads], [kv heads]: [head_dim]
  std::vector<Vector> energies;       ///< [kv heads]: |z_i|^2 of the keys, [pairs]
  Vector squares;                     ///< [kv heads]: ||k||^2

  Sums(const Architecture& a, int64_t pairs)
      : queries(static_cast<size_t>(a.n_heads), Vector(static_cast<size_t>(a.head_dim))),
        keys(static_cast<size_t>(a.n_kv_heads), Vector(static_cast<size_t>(a.head_dim))),
        energies(keys.size(), Vector(static_cast<size_t>(pairs))),
        squares(keys.size()) {}
  void add_all(const Sums& from, double factor) {
    tokens += factor * from.tokens;
    for (size_t i = 0; i < queries.size(); ++i) add(from.queries[i], factor, queries[i]);
    for (size_t i = 0; i < keys.size(); ++i) {
      add(from.keys[i], factor, keys[i]);
      add(from.energies[i], factor, energies[i]);
    }
    add(from.squares, factor, squares);
  }
};

/// Queries and keys of one block, as positions turn them.
class Reader {
 public:
  Reader(const ModelWeights& weights, int layer, const Turning& turning)
      : a_(weights.architecture()), project_(weights, layer), turning_(turning) {}

  /// The keys of one input, [kv heads].
  std::vector<Vector> keys(std::span<const double> x) const {
    const std::vector<float> input(x.begin(), x.end()), row = rows(input.data(), 1);
    std::vector<Vector> keys;
    for (int64_t kv = 0; kv < a_.n_kv_heads; ++kv) keys.push_back(head_of(row, project_.key(kv)));
    return keys;
  }
  /// Adds `count` inputs [count, d].
  void add_to(Sums& sums, const float* x, int64_t count) const {
    const std::vector<float> all = rows(x, count);
    sums.tokens += static_cast<double>(count);
    for (int64_t row = 0; row < count; ++row) {
      const auto of_row = std::span(all).subspan(static_cast<size_t>(row * project_.row_size()));
      for (int64_t head = 0; head < a_.n_heads; ++head)
        add(head_of(of_row, project_.query(head)), 1.0, sums.queries[static_cast<size_t>(head)]);
      for (size_t kv = 0; kv < sums.keys.size(); ++kv) {
        const Vector key = head_of(of_row, project_.key(static_cast<int64_t>(kv)));
        add(key, 1.0, sums.keys[kv]);
        add(turning_.energies(key), 1.0, sums.energies[kv]);
        sums.squares[kv] += squares(key);
      }
    }
  }

 private:
  std::vector<float> rows(const float* x, int64_t count) const {
    std::vector<float> rows = project_(x, count);
    project_.limit_and_norm(rows);
    return rows;
  }
  Vector head_of(std::span<const float> row, int64_t first) const {
    const auto head = row.subspan(static_cast<size_t>(first), static_cast<size_t>(a_.head_dim));
    return {head.begin(), head.end()};
  }
  const Architecture& a_;
  Projections project_;
  const Turning& turning_;
};

/// `energies` as shares of their sum (NaN where it is 0), and what of `all` is in none of them.
std::pair<Vector, double> shares(const Vector& energies, double all) {
  const double turned = std::accumulate(energies.begin(), energies.end(), 0.0);
  // No less than 0: `all` has the same squares, added in another order.
  return {times(energies, 1.0 / turned), std::max(1.0 - turned / all, 0.0)};
}

BlockBands bands_of(const Architecture& a, const Turning& turning, const Sums& sums,
                    const std::vector<Vector>& key_stars) {
  BlockBands block;
  block.heads.resize(sums.queries.size());
  const double each = 1.0 / sums.tokens;
  parallel_for(a.n_heads, [&](int64_t head) {
    const auto kv = static_cast<size_t>(head / (a.n_heads / a.n_kv_heads));
    const Vector query = times(sums.queries[static_cast<size_t>(head)], each * a.attention_scale),
                 mean_key = times(sums.keys[kv], each);
    block.heads[static_cast<size_t>(head)] = {measure_bands(turning, query, key_stars[kv]),
                                              measure_bands(turning, query, mean_key),
                                              std::sqrt(squares(mean_key) / squares(key_stars[kv]))};
  });
  for (size_t kv = 0; kv < sums.keys.size(); ++kv) {
    auto [of_template, still_template] = shares(turning.energies(key_stars[kv]), squares(key_stars[kv]));
    auto [of_semantic, still_semantic] = shares(sums.energies[kv], sums.squares[kv]);
    block.kv_heads.push_back({std::move(of_template), std::move(of_semantic), still_template, still_semantic});
  }
  return block;
}

}  // namespace

BlockBandsWithError measure_block_bands(const ModelWeights& weights, int layer, const Turning& turning,
                                        const TokenVectors& ordinary, const TemplateVector& x_star) {
  const Architecture& a = weights.architecture();
  const Reader reader(weights, layer, turning);
  const std::vector<Vector> key_stars = reader.keys(x_star.all);
  std::vector<Sums> groups(static_cast<size_t>(window_groups(ordinary.n_prompts())), Sums(a, turning.pairs()));
  for (int64_t prompt = 0; prompt < ordinary.n_prompts(); ++prompt) {
    const int64_t first = ordinary.offsets[static_cast<size_t>(prompt)],
                  count = ordinary.offsets[static_cast<size_t>(prompt) + 1] - first;
    if (count > 0) reader.add_to(groups[static_cast<size_t>(prompt) % groups.size()], ordinary[first].data(), count);
  }
  Sums all(a, turning.pairs());
  for (const Sums& group : groups) all.add_all(group, 1.0);
  BlockBandsWithError result{bands_of(a, turning, all, key_stars), {}};
  const auto has_all = [&](const Sums& group) { return group.tokens == all.tokens; };
  if (std::any_of(groups.begin(), groups.end(), has_all)) return result;
  for (size_t group = 0; group < groups.size(); ++group) {
    Sums rest = all;
    rest.add_all(groups[group], -1.0);
    result.left_out.push_back(bands_of(
        a, turning, rest, x_star.left_out.empty() ? key_stars : reader.keys(x_star.left_out[group])));
  }
  return result;
}

}  // namespace spikescope
