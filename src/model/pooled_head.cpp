#include "model/pooled_head.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/fail.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/rows.h"

namespace spikescope {
namespace {

constexpr Point kPoints[] = {Point::pooled, Point::embeds, Point::cls_logits, Point::distillation_logits,
                             Point::class_logits};

/// A prompt's tokens.
struct States {
  const float* rows;
  int64_t tokens, d;
  const int64_t* ids;
  const float* row(int64_t token) const { return rows + token * d; }
};

std::vector<float> applied(const Linear& linear, const std::vector<float>& x) {
  std::vector<float> out(static_cast<size_t>(linear.out()));
  linear({x.data(), 1, linear.in(), linear.in()}, {out.data(), 1, linear.out(), linear.out()});
  return out;
}

/// Attention of a learned query to all tokens, and an MLP beside it.
class AttentionPool {
 public:
  explicit AttentionPool(const ModelWeights& weights) : architecture_(weights.architecture()) {
    query_ = weights.read(Role::pool_query).values;
    qkv_.load(weights, {{{Role::pool_qkv}}}, {{{Role::b_pool_qkv}}});
    out_.load(weights, {{{Role::pool_out}}}, {{{Role::b_pool_out}}});
    norm_.load(weights, -1, Role::pool_norm, Role::pool_norm_bias);
    up_.load(weights, {{{Role::pool_up}}}, {{{Role::b_pool_up}}});
    down_.load(weights, {{{Role::pool_down}}}, {{{Role::b_pool_down}}});
  }

  std::vector<float> operator()(const States& states) const {
    const int64_t d = states.d, heads = architecture_.n_heads, hd = d / heads;
    const std::vector<float> q = applied(qkv_, query_);  // of which the first third counts
    std::vector<float> kv(static_cast<size_t>(states.tokens * 3 * d));
    qkv_({states.rows, states.tokens, d, d}, {kv.data(), states.tokens, 3 * d, 3 * d});
    std::vector<float> mixed(static_cast<size_t>(d));
    for (int64_t head = 0; head < heads; ++head) {
      const auto key = [&](int64_t token) { return kv.data() + token * 3 * d + d + head * hd; };
      std::vector<double> scores(static_cast<size_t>(states.tokens));
      for (int64_t token = 0; token < states.tokens; ++token)
        for (int64_t i = 0; i < hd; ++i)
          scores[static_cast<size_t>(token)] +=
              static_cast<double>(q[static_cast<size_t>(head * hd + i)]) * key(token)[i];
      const double most = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (double& score : scores) sum += score = std::exp((score - most) / std::sqrt(static_cast<double>(hd)));
      for (int64_t i = 0; i < hd; ++i) {
        double value = 0.0;
        for (int64_t token = 0; token < states.tokens; ++token)
          value += scores[static_cast<size_t>(token)] * key(token)[d + i];
        mixed[static_cast<size_t>(head * hd + i)] = static_cast<float>(value / sum);
      }
    }
    std::vector<float> pooled = applied(out_, mixed), normed(pooled.size());
    norm_(pooled.data(), 1, d, normed.data(), d);
    std::vector<float> wide = applied(up_, normed);
    plain_activation(architecture_.activation, wide.data(), 1, up_.out(), up_.out(), wide.data(), up_.out());
    add(applied(down_, wide).data(), d, pooled.data());
    return pooled;
  }

 private:
  const Architecture& architecture_;
  std::vector<float> query_;
  Linear qkv_, out_, up_, down_;
  Norm norm_;
};

int64_t end_of(const States& states, int64_t end_token) {
  const int64_t* last = states.ids + states.tokens;
  if (end_token < 0) return std::max_element(states.ids, last) - states.ids;
  const int64_t* found = std::find(states.ids, last, end_token);
  return found == last ? 0 : found - states.ids;
}

/// What stands for each prompt, and the layers after it.
class PooledHead {
 public:
  explicit PooledHead(const ModelWeights& weights) : a_(weights.architecture()) {
    if (a_.pool == Pool::first_normed) norm_.load(weights, -1, Role::ln_final, Role::ln_final_bias);
    if (a_.pool == Pool::attention) attention_.emplace(weights);
    if (a_.labels > 0) classifier_.load(weights, {{{Role::classifier}}}, {{{Role::b_classifier}}});
    if (weights.has(Role::distillation_classifier))
      distillation_.load(weights, {{{Role::distillation_classifier}}}, {{{Role::b_distillation_classifier}}});
    if (weights.has(Role::projection)) projection_.load(weights, {{{Role::projection}}}, {{{Role::b_projection}}});
  }

  /// `report(point, values)` is called for each of the prompt's outputs.
  template <class Report>
  void operator()(const States& states, const Report& report) const {
    std::vector<float> pooled = pool(states);
    report(Point::pooled, pooled);
    if (a_.contrastive) {
      std::vector<float> embeds = projection_.out() > 0 ? applied(projection_, pooled) : pooled;
      report(Point::embeds, embeds);
    }
    if (a_.labels == 0) return;
    std::vector<float> logits = applied(classifier_, pooled);
    if (a_.distillation_classifier) {
      report(Point::cls_logits, logits);
      std::vector<float> second = applied(distillation_, {states.row(1), states.row(2)});
      report(Point::distillation_logits, second);
      for (size_t i = 0; i < logits.size(); ++i) logits[i] = (logits[i] + second[i]) / 2.0f;
    }
    report(Point::class_logits, logits);
  }

 private:
  std::vector<float> pool(const States& states) const {
    const auto row = [&](int64_t token) { return std::vector<float>(states.row(token), states.row(token + 1)); };
    switch (a_.pool) {
      case Pool::none:
      case Pool::first:
        break;
      case Pool::first_normed: {
        std::vector<float> pooled = row(0);
        norm_(pooled.data(), 1, states.d, pooled.data(), states.d);
        return pooled;
      }
      case Pool::first_and_mean: {
        std::vector<float> pooled = row(0);
        for (int64_t i = 0; i < states.d; ++i) {
          double sum = 0.0;
          for (int64_t token = a_.patches.special(); token < states.tokens; ++token) sum += states.row(token)[i];
          pooled.push_back(static_cast<float>(sum / static_cast<double>(states.tokens - a_.patches.special())));
        }
        return pooled;
      }
      case Pool::last:
        return row(states.tokens - 1);
      case Pool::end:
        return row(end_of(states, a_.end_token));
      case Pool::attention:
        return (*attention_)(states);
    }
    return row(0);
  }

  const Architecture& a_;
  Norm norm_;
  std::optional<AttentionPool> attention_;
  Linear classifier_, distillation_, projection_;
};

void normalize_rows(std::vector<float>& values, int64_t size) {
  for (auto row = values.begin(); row != values.end(); row += size) {
    double squares = 0.0;
    for (auto value = row; value != row + size; ++value) squares += static_cast<double>(*value) * *value;
    for (auto value = row; value != row + size; ++value) *value = static_cast<float>(*value / std::sqrt(squares));
  }
}

}  // namespace

bool wants_pooled_head(const Architecture& a, const Hooks& hooks) {
  return std::any_of(std::begin(kPoints), std::end(kPoints), [&](Point point) {
    return has_point(a, {point, -1}) && hooks.wants({point, -1});
  });
}

void run_pooled_head(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks,
                     const std::vector<float>& states) {
  const int64_t d = weights.architecture().d_model;
  const PooledHead head(weights);
  for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt) {
    const int64_t first = batch.offsets[prompt], tokens = batch.offsets[prompt + 1] - first;
    head({states.data() + first * d, tokens, d, batch.ids.data() + first},
         [&](Point point, std::vector<float>& values) {
           const auto size = static_cast<int64_t>(values.size());
           hooks.call({{point, -1}, static_cast<int64_t>(prompt), {values.data(), {1, size}, size}});
         });
  }
}

Contrast contrast(const ModelWeights& weights, std::vector<float> text_embeds, std::vector<float> image_embeds) {
  const int64_t size = weights.architecture().embedding_size();
  if (static_cast<int64_t>(text_embeds.size()) % size != 0 || static_cast<int64_t>(image_embeds.size()) % size != 0)
    fail("embeddings of {} and {} values cannot be compared: a text's has {}", text_embeds.size(), image_embeds.size(),
         size);
  Contrast result{std::move(text_embeds), std::move(image_embeds), {}};
  normalize_rows(result.text_embeds, size);
  normalize_rows(result.image_embeds, size);
  const double scale = std::exp(weights.read(Role::logit_scale).values[0]);
  const double bias = weights.has(Role::logit_bias) ? weights.read(Role::logit_bias).values[0] : 0.0;
  for (auto image = result.image_embeds.begin(); image != result.image_embeds.end(); image += size)
    for (auto text = result.text_embeds.begin(); text != result.text_embeds.end(); text += size) {
      double dot = 0.0;
      for (int64_t i = 0; i < size; ++i) dot += static_cast<double>(image[i]) * text[i];
      result.logits_per_image.push_back(static_cast<float>(scale * dot + bias));
    }
  return result;
}

}  // namespace spikescope
