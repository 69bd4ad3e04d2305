#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/parallel.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/pooled_head.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

/// -log softmax(logits)[target].
double loss_of(const float* logits, int64_t vocabulary, int64_t target) {
  const float largest = *std::max_element(logits, logits + vocabulary);
  double sum = 0.0;
  for (int64_t i = 0; i < vocabulary; ++i) sum += exponential(logits[i] - largest);
  return std::log(sum) + largest - logits[target];
}

/// The layers after the last block, in float32.
struct Head {
  Norm final_norm, transform_norm;
  Linear transform, unembedding;

  Head(const ModelWeights& weights, bool logits) {
    const Architecture& a = weights.architecture();
    final_norm.load(weights, -1, Role::ln_final, Role::ln_final_bias);
    if (!logits) return;
    if (a.head_transform) {
      transform.load(weights, {{{Role::head_dense}}}, {{{Role::b_head_dense}}});
      transform_norm.load(weights, -1, Role::head_norm, Role::head_norm_bias);
    }
    unembedding.load(weights, {{{a.tied_embeddings ? Role::token_embedding : Role::unembedding}}},
                     {{{Role::b_unembedding}}});
  }

  /// Logits of some rows [count, d], which it may change.
  void operator()(const Architecture& a, float* x, int64_t count, float* logits) const {
    const int64_t d = a.d_model;
    if (a.head_transform) {
      thread_local Buffer dense;
      dense.resize(count * d);
      transform({x, count, d, d}, {dense.data(), count, d, d});
      plain_activation(a.activation, dense.data(), count, d, d, x, d);
      transform_norm(x, count, d, x, d);
    }
    unembedding({x, count, d, d}, {logits, count, a.vocabulary, a.vocabulary});
    const int64_t values = count * a.vocabulary;
    if (a.logit_scale != 1.0)
      for (int64_t i = 0; i < values; ++i) logits[i] *= static_cast<float>(a.logit_scale);
    if (a.logit_softcap > 0.0) soft_cap(logits, values, a.logit_softcap);
  }
};

std::vector<float> normed_states(const ModelWeights& weights, const std::vector<float>& residual) {
  const int64_t d = weights.architecture().d_model, n = static_cast<int64_t>(residual.size()) / d;
  Norm norm;
  norm.load(weights, -1, Role::ln_final, Role::ln_final_bias);
  std::vector<float> states(residual.size());
  for_row_pieces(n, [&](int64_t first, int64_t count) {
    norm(residual.data() + first * d, count, d, states.data() + first * d, d);
  });
  return states;
}

/// Rows that go through the head: all where `all`, else those of the predictions.
std::vector<int64_t> rows_needed(bool all, int64_t n, std::span<const Prediction> predictions) {
  std::vector<int64_t> rows(all ? static_cast<size_t>(n) : 0);
  std::iota(rows.begin(), rows.end(), int64_t{0});
  if (!all)
    for (const Prediction& prediction : predictions)
      if (rows.empty() || rows.back() != prediction.row) rows.push_back(prediction.row);
  return rows;
}

}  // namespace

std::vector<Prediction> next_tokens(const TokenBatch& batch) {
  std::vector<Prediction> predictions;
  for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt)
    for (int64_t row = batch.offsets[prompt]; row + 1 < batch.offsets[prompt + 1]; ++row)
      predictions.push_back({row, batch.ids[static_cast<size_t>(row) + 1]});
  return predictions;
}

std::vector<float> run_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks,
                            std::span<const Prediction> predictions, const std::vector<float>& residual) {
  const Architecture& a = weights.architecture();
  const bool normed = has_point(a, {Point::ln_final_out, -1});
  const bool norm_seen = normed && hooks.wants({Point::ln_final_out, -1});
  const bool logits_seen = a.head && hooks.wants({Point::logits, -1});
  const bool wants_logits = logits_seen || (a.head && !predictions.empty());
  const bool pooled = wants_pooled_head(a, hooks);
  if (!wants_logits && !pooled && !norm_seen) return {};
  const int64_t n = static_cast<int64_t>(batch.ids.size()), d = a.d_model;
  if (a.pool != Pool::none) {
    std::vector<float> states = normed ? normed_states(weights, residual) : residual;
    if (normed) hooks.call({{Point::ln_final_out, -1}, 0, {states.data(), {n, d}, d}});
    if (pooled) run_pooled_head(weights, batch, hooks, states);
    return {};
  }
  const Head head(weights, wants_logits);
  const std::vector<int64_t> needed = rows_needed(norm_seen || logits_seen, n, predictions);
  // As many rows at a time as make 64 MiB of logits.
  const int64_t slice = std::clamp<int64_t>((int64_t{16} << 20) / a.vocabulary, 1, 1024);
  Buffer states(slice * d), logits(wants_logits ? slice * a.vocabulary : 0);
  std::vector<float> losses(a.head ? predictions.size() : 0);
  size_t predicted = 0;
  for (auto begin = needed.begin(); begin != needed.end();) {
    const int64_t rows = std::min<int64_t>(slice, needed.end() - begin);
    for_row_pieces(rows, [&](int64_t row, int64_t count) {
      float* const to = states.data() + row * d;
      for (int64_t i = 0; i < count; ++i) std::copy_n(residual.data() + begin[row + i] * d, d, to + i * d);
      if (normed) head.final_norm(to, count, d, to, d);
    });
    // Hooks that are called see all rows.
    if (norm_seen) hooks.call({{Point::ln_final_out, -1}, *begin, {states.data(), {rows, d}, d}});
    if (wants_logits)
      for_row_pieces(rows, [&](int64_t row, int64_t count) {
        head(a, states.data() + row * d, count, logits.data() + row * a.vocabulary);
      });
    if (logits_seen) hooks.call({{Point::logits, -1}, *begin, {logits.data(), {rows, a.vocabulary}, a.vocabulary}});
    const auto end = begin + rows;
    const size_t first = predicted;
    while (predicted < losses.size() && predictions[predicted].row <= *(end - 1)) ++predicted;
    parallel_for(static_cast<int64_t>(predicted - first), [&](int64_t i) {
      const Prediction& prediction = predictions[first + static_cast<size_t>(i)];
      const int64_t row = std::lower_bound(begin, end, prediction.row) - begin;
      losses[first + static_cast<size_t>(i)] =
          static_cast<float>(loss_of(logits.data() + row * a.vocabulary, a.vocabulary, prediction.id));
    });
    begin = end;
  }
  return losses;
}

}  // namespace spikescope
