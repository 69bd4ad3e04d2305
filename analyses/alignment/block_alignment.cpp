#include "analyses/alignment/block_alignment.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "analyses/projections.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

template <class A, class B>
double dot(const A* a, const B* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

template <class A>
double norm(const A* a, int64_t n) {
  return std::sqrt(dot(a, a, n));
}

double ratio(double a, double b) { return b > 0.0 ? a / b : kUndefined; }

/// Adds `factor` times the values.
template <class A>
void add(const A* from, int64_t n, double factor, double* to) {
  for (int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

/// Mean of the rows' vectors, or (`unit`) of their directions.
std::vector<double> mean_of(std::span<const float> rows, int64_t n, int64_t stride, int64_t size, bool unit) {
  std::vector<double> mean(static_cast<size_t>(size));
  for (int64_t i = 0; i < n; ++i) {
    const float* row = rows.data() + i * stride;
    const double length = unit ? norm(row, size) : 1.0;
    if (length > 0.0) add(row, size, 1.0 / (length * static_cast<double>(n)), mean.data());
  }
  return mean;
}

std::vector<float> floats(std::span<const double> values) { return {values.begin(), values.end()}; }

}  // namespace

BlockAlignment measure_alignment(const ModelWeights& weights, int layer, const TokenVectors& ordinary,
                                 std::span<const double> x_star, int64_t spike_dim) {
  const Architecture& a = weights.architecture();
  const int64_t d = ordinary.d, head_dim = a.head_dim, v_dim = a.v_dim(), group = a.n_heads / a.n_kv_heads;
  const Projections project(weights, layer);
  const std::vector<double> x_mean = ordinary.mean();
  const std::vector<float> star_row = project(floats(x_star).data(), 1);

  const auto gain = [&](double value, double input) { return project.linear() ? ratio(value, input) : kUndefined; };
  const std::vector<float> w_v = weights.read(Role::w_v, layer).values;  // for its length alone

  BlockAlignment result;
  result.linear = project.linear();
  result.heads.resize(static_cast<size_t>(a.n_heads));
  result.template_norm = norm(x_star.data(), d);
  for (int64_t kv = 0; kv < a.n_kv_heads; ++kv) {
    const float *key = star_row.data() + project.key(kv), *value = star_row.data() + project.value(kv);
    const double value_norm = norm(value, v_dim);
    result.kv_heads.push_back(
        {norm(key, head_dim), kUndefined, value_norm, gain(value_norm, result.template_norm),
         project.linear() ? norm(w_v.data() + kv * v_dim * d, v_dim * d) / std::sqrt(static_cast<double>(d))
                          : kUndefined});
  }

  // Directions and means of the queries, window by window; all keys, [ordinary tokens, k_size], and their directions.
  std::vector<float> keys;
  std::vector<std::vector<double>> unit_queries(static_cast<size_t>(a.n_heads)), queries(unit_queries);
  std::vector<double> unit_keys(static_cast<size_t>(a.k_size()));
  for (int64_t prompt = 0; prompt < ordinary.n_prompts(); ++prompt) {
    const int64_t first = ordinary.offsets[static_cast<size_t>(prompt)],
                  n = ordinary.offsets[static_cast<size_t>(prompt) + 1] - first;
    if (n == 0) continue;
    const std::vector<float> rows = project(ordinary[first].data(), n);
    const auto column = [&](int64_t offset) { return std::span(rows).subspan(static_cast<size_t>(offset)); };
    for (int64_t head = 0; head < a.n_heads; ++head) {
      const auto index = static_cast<size_t>(head);
      const float* key = star_row.data() + project.key(head / group);
      const double key_norm = norm(key, head_dim);
      Moments cosines, positive;
      for (int64_t i = 0; i < n; ++i) {
        const float* query = column(i * project.row_size() + project.query(head)).data();
        const double lengths = norm(query, head_dim) * key_norm;
        if (!(lengths > 0.0)) continue;
        cosines.add(dot(query, key, head_dim) / lengths);
        positive.add(dot(query, key, head_dim) > 0.0);
      }
      result.heads[index].cos_template.push_back(cosines.mean());
      result.heads[index].positive.push_back(positive.mean());
      const std::vector<double> unit = mean_of(column(project.query(head)), n, project.row_size(), head_dim, true),
                                mean = mean_of(column(project.query(head)), n, project.row_size(), head_dim, false);
      unit_queries[index].insert(unit_queries[index].end(), unit.begin(), unit.end());
      queries[index].insert(queries[index].end(), mean.begin(), mean.end());
    }
    std::vector<KvSums> sums(static_cast<size_t>(a.n_kv_heads));
    double norms = 0.0;
    Moments cos_input;
    for (int64_t i = 0; i < n; ++i) {
      const float* x = ordinary[first + i].data();
      const auto of_token = column(i * project.row_size() + project.key(0)).first(static_cast<size_t>(a.k_size()));
      keys.insert(keys.end(), of_token.begin(), of_token.end());
      const double length = norm(x, d);
      norms += length;
      if (length > 0.0 && result.template_norm > 0.0)
        cos_input.add(dot(x, x_star.data(), d) / (length * result.template_norm));
      for (int64_t kv = 0; kv < a.n_kv_heads; ++kv) {
        const float *key = column(i * project.row_size() + project.key(kv)).data(),
                    *value = column(i * project.row_size() + project.value(kv)).data();
        KvSums& sum = sums[static_cast<size_t>(kv)];
        sum.key_norm += norm(key, head_dim);
        sum.value_norm += norm(value, v_dim);
        sum.value_gain += gain(norm(value, v_dim), length);
        if (const double key_norm = norm(key, head_dim); key_norm > 0.0)
          add(key, head_dim, 1.0 / (key_norm * static_cast<double>(ordinary.size())), unit_keys.data() + kv * head_dim);
      }
    }
    result.kv_windows.push_back(std::move(sums));
    result.window_tokens.push_back(n);
    result.window_norms.push_back(norms);
    result.cos_input.push_back(cos_input.mean());
  }

  const auto key_of = [&](int64_t i, int64_t kv) { return keys.data() + i * a.k_size() + kv * head_dim; };
  const std::vector<double> mean_key = mean_of(keys, ordinary.size(), a.k_size(), a.k_size(), false);
  // W_K (x - mean) = k - (mean of the keys): the bias cancels.
  const auto contrast = [&](const float* key, int64_t kv, auto* x) {
    double squares = 0.0, input = 0.0;
    for (int64_t i = 0; i < head_dim; ++i)
      squares += std::pow(static_cast<double>(key[i]) - mean_key[static_cast<size_t>(kv * head_dim + i)], 2);
    for (int64_t i = 0; i < d; ++i) input += std::pow(x[i] - x_mean[static_cast<size_t>(i)], 2);
    return ratio(std::sqrt(squares), std::sqrt(input));
  };
  for (int64_t kv = 0; kv < a.n_kv_heads && ordinary.size() > 0; ++kv) {
    const auto index = static_cast<size_t>(kv);
    result.kv_heads[index].key_contrast =
        gain(contrast(star_row.data() + project.key(kv), kv, x_star.data()), 1.0);
    int64_t token = 0;
    for (size_t window = 0; window < result.kv_windows.size(); ++window)
      for (int64_t i = 0; i < result.window_tokens[window]; ++i, ++token)
        result.kv_windows[window][index].key_contrast += gain(contrast(key_of(token, kv), kv, ordinary[token].data()), 1.0);
  }

  // What W_K makes of the spike dimension alone, and (its bias) of nothing.
  std::vector<float> parts(static_cast<size_t>(2 * d));
  if (spike_dim >= 0) parts[static_cast<size_t>(spike_dim)] = static_cast<float>(x_star[static_cast<size_t>(spike_dim)]);
  const std::vector<float> part_rows = project.linear() ? project(parts.data(), 2) : std::vector<float>();
  const auto windows = static_cast<int64_t>(result.window_tokens.size());
  for (int64_t head = 0; head < a.n_heads; ++head) {
    const auto index = static_cast<size_t>(head);
    const int64_t kv = head / group;
    HeadAlignment& out = result.heads[index];
    const float* key = star_row.data() + project.key(kv);
    std::vector<double> direction(static_cast<size_t>(head_dim));
    for (int64_t window = 0; window < windows; ++window) {
      const double *unit = unit_queries[index].data() + window * head_dim,
                   *mean = queries[index].data() + window * head_dim;
      out.cos_other.push_back(dot(unit, unit_keys.data() + kv * head_dim, head_dim));
      out.logit_gap.push_back(
          a.attention_scale * (dot(mean, key, head_dim) - dot(mean, mean_key.data() + kv * head_dim, head_dim)));
      add(unit, head_dim, 1.0 / static_cast<double>(windows), direction.data());
    }
    Moments products;
    for (int64_t i = 0; i < ordinary.size(); ++i) products.add(dot(key_of(i, kv), direction.data(), head_dim));
    out.z = (dot(key, direction.data(), head_dim) - products.mean()) / std::sqrt(products.variance());
    int64_t begin = 0;  // first ordinary token of the window
    for (int64_t window = 0; window < windows; ++window) {
      const double* mean = queries[index].data() + window * head_dim;
      // A key's bias shifts all alike.
      const auto logit = [&](const float* from) {
        if (!project.linear()) return kUndefined;
        const float* bias = part_rows.data() + project.row_size() + project.key(kv);
        return dot(from, mean, head_dim) - dot(bias, mean, head_dim);
      };
      out.template_logit.push_back(logit(key));
      out.spike_logit.push_back(spike_dim >= 0 ? logit(part_rows.data() + project.key(kv)) : kUndefined);
      // The length of the direction does not matter to z.
      std::vector<double> others(direction);
      add(unit_queries[index].data() + window * head_dim, head_dim, -1.0 / static_cast<double>(windows), others.data());
      const int64_t end = begin + result.window_tokens[static_cast<size_t>(window)];
      Moments rest;
      for (int64_t i = 0; i < ordinary.size(); ++i)
        if (i < begin || i >= end) rest.add(dot(key_of(i, kv), others.data(), head_dim));
      out.z_without.push_back((dot(key, others.data(), head_dim) - rest.mean()) / std::sqrt(rest.variance()));
      begin = end;
    }
  }
  return result;
}

}  // namespace spikescope
