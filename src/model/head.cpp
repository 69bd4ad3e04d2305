#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

void add_losses(const float* logits, int64_t vocabulary, const TokenBatch& batch, int64_t first, int64_t rows,
                std::vector<float>& losses) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t token = first + row;
    // The token after a prompt's last one belongs to another prompt.
    if (std::binary_search(batch.offsets.begin(), batch.offsets.end(), token + 1)) continue;
    losses[static_cast<size_t>(token)] =
        static_cast<float>(loss_of(logits + row * vocabulary, vocabulary, batch.ids[static_cast<size_t>(token) + 1]));
  }
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

}  // namespace

std::vector<float> run_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks, bool wants_losses,
                            const std::vector<float>& residual) {
  const Architecture& a = weights.architecture();
  const bool normed = has_point(a, {Point::ln_final_out, -1});
  const bool wants_logits = a.head && (wants_losses || hooks.wants({Point::logits, -1}));
  const bool pooled = wants_pooled_head(a, hooks);
  if (!wants_logits && !pooled && !(normed && hooks.wants({Point::ln_final_out, -1}))) return {};
  const int64_t n = static_cast<int64_t>(batch.ids.size()), d = a.d_model;
  if (a.pool != Pool::none) {
    std::vector<float> states = normed ? normed_states(weights, residual) : residual;
    if (normed) hooks.call({{Point::ln_final_out, -1}, 0, {states.data(), {n, d}, d}});
    if (pooled) run_pooled_head(weights, batch, hooks, states);
    return {};
  }
  const Head head(weights, wants_logits);
  // As many rows at a time as make 64 MiB of logits.
  const int64_t slice = std::clamp<int64_t>((int64_t{16} << 20) / a.vocabulary, 1, 1024);
  Buffer states(slice * d), logits(wants_logits ? slice * a.vocabulary : 0);
  std::vector<float> losses(wants_losses ? static_cast<size_t>(n) : 0, std::numeric_limits<float>::quiet_NaN());
  for (int64_t first = 0; first < n; first += slice) {
    const int64_t rows = std::min(slice, n - first);
    for_row_pieces(rows, [&](int64_t row, int64_t count) {
      const float* from = residual.data() + (first + row) * d;
      if (normed)
        head.final_norm(from, count, d, states.data() + row * d, d);
      else
        std::copy_n(from, count * d, states.data() + row * d);
    });
    if (normed) hooks.call({{Point::ln_final_out, -1}, first, {states.data(), {rows, d}, d}});
    if (!wants_logits) continue;
    for_row_pieces(rows, [&](int64_t row, int64_t count) {
      head(a, states.data() + row * d, count, logits.data() + row * a.vocabulary);
    });
    hooks.call({{Point::logits, -1}, first, {logits.data(), {rows, a.vocabulary}, a.vocabulary}});
    if (wants_losses) add_losses(logits.data(), a.vocabulary, batch, first, rows, losses);
  }
  return losses;
}

}  // namespace spikescope
