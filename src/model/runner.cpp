#include "model/runner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "model/block.h"
#include "model/embedding.h"
#include "model/head.h"
#include "model/patch_embedding.h"
#include "model/prompt_layout.h"
#include "model/vectorize.h"

namespace spikescope {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Prompts of a group, at most: however short, each has panels of its own in attention.
constexpr int64_t kMostPrompts = 256;

std::vector<PromptGroup> groups_of(const PromptLayout& prompts, int64_t rows) {
  std::vector<PromptGroup> groups;
  for (int64_t prompt = 0; prompt < prompts.prompts(); ++prompt) {
    const int64_t end = prompts.offsets[prompt + 1];
    const bool full =
        groups.empty() || end - groups.back().first_row > rows || prompt - groups.back().first_prompt >= kMostPrompts;
    if (full && prompts.parent(prompt) < 0) groups.push_back({prompt, prompt, prompts.offsets[prompt], 0});
    groups.back().last_prompt = prompt + 1;
    groups.back().rows = end - groups.back().first_row;
  }
  return groups;
}

/// Layers that somebody looks at: blocks [0, n) have to run.
int64_t layers_needed(const Architecture& architecture, const Hooks& hooks, bool everything) {
  if (everything) return architecture.n_layers;
  int64_t needed = 0;
  for (const HookPoint& point : hook_points(architecture))
    if (hooks.wants(point))
      needed = point.kind().per_block        ? point.layer + (point.point != Point::resid_pre)
               : point.point == Point::embed ? needed
                                             : architecture.n_layers;
  return needed;
}

SPIKESCOPE_VECTORIZED
bool all_finite(const float* values, int64_t count) {
  float marker = 0.0f;
#pragma omp simd reduction(+ : marker)
  for (int64_t i = 0; i < count; ++i) marker += values[i] * 0.0f;
  return marker == 0.0f;
}

void check_finite(const std::vector<float>& residual, const TokenBatch& batch, int64_t d, int layer) {
  const int64_t n = static_cast<int64_t>(batch.ids.size());
  std::atomic<int64_t> first_bad = n;
  parallel_for_ranges(n, 64, [&](int64_t first, int64_t last) {
    if (all_finite(residual.data() + first * d, (last - first) * d)) return;
    while (all_finite(residual.data() + first * d, d)) ++first;
    for (int64_t before = first_bad; first < before && !first_bad.compare_exchange_weak(before, first);) continue;
  });
  const int64_t bad = first_bad;
  if (bad == n) return;
  const auto prompt = std::upper_bound(batch.offsets.begin(), batch.offsets.end(), bad) - batch.offsets.begin() - 1;
  fail("blocks.{}.resid_post is not finite at prompt {}, token {}: the weights or an intervention overflow float32",
       layer, prompt, bad - batch.offsets[static_cast<size_t>(prompt)]);
}

void check_parents(const TokenBatch& batch, const Architecture& a) {
  if (batch.parents.empty()) return;
  if (batch.parents.size() + 1 != batch.offsets.size())
    fail("{} parents for {} prompts", batch.parents.size(), batch.offsets.size() - 1);
  if (!a.causal) fail("prompts cannot share a beginning in {} models: it would see what comes after it", a.family);
  int64_t last = -1;  // prompt without a parent
  for (size_t p = 0; p < batch.parents.size(); ++p) {
    if (batch.parents[p] == -1)
      last = static_cast<int64_t>(p);
    else if (batch.parents[p] != last)
      fail("prompt {} goes on from prompt {}; expected {}, the last one before it without a parent", p,
           batch.parents[p], last);
  }
}

/// Statistics and squares are of whole prompts and of their own keys.
void check_seen(const TokenBatch& batch, const Architecture& a, const Hooks& hooks, const PassObserver& observer) {
  if (batch.parents.empty() && !hooks.biases_attention()) return;
  bool squares = false;
  for (int layer = 0; layer < a.n_layers; ++layer)
    squares = squares || hooks.wants({Point::scores, layer}) || hooks.wants({Point::pattern, layer});
  if (squares || observer.wants_sinks())
    fail("{} of {} cannot be had: {}", squares ? "attn.scores and attn.pattern" : "sink statistics",
         batch.parents.empty() ? "attention with a bias" : "prompts that share their beginning",
         batch.parents.empty() ? "they are of the tokens' own keys" : "run each as a whole");
}

void check_predictions(const TokenBatch& batch, const Architecture& a, const std::vector<Prediction>& predictions) {
  int64_t row = 0;
  for (const Prediction& prediction : predictions) {
    if (prediction.row < row || prediction.row >= static_cast<int64_t>(batch.ids.size()))
      fail("a prediction at row {}: expected rows from {} on, ascending, below {}", prediction.row, row,
           batch.ids.size());
    if (prediction.id < 0 || prediction.id >= a.vocabulary)
      fail("a prediction of id {}, outside the vocabulary of {} tokens", prediction.id, a.vocabulary);
    row = prediction.row;
  }
}

void check_images(const TokenBatch& batch, const Architecture& a) {
  const Pixels& pixels = batch.pixels;
  const int64_t tokens = image_tokens(a.patches, pixels.side);
  if (pixels.images < 1) fail("the model reads images: give it --pixels FILE.safetensors");
  if (pixels.channels != a.patches.channels || patch_count(a.patches, pixels.side) < 1)
    fail("images of {0} x {1} x {1}, but the model takes {2} channels, and at least a patch of {3} x {3} pixels",
         pixels.channels, pixels.side, a.patches.channels, a.patches.size);
  if (static_cast<int64_t>(batch.offsets.size()) != pixels.images + 1)
    fail("{} images for {} prompts", pixels.images, batch.offsets.size() - 1);
  for (size_t p = 0; p + 1 < batch.offsets.size(); ++p)
    if (batch.offsets[p + 1] - batch.offsets[p] != tokens)
      fail("image {} has {} tokens; expected {}", p, batch.offsets[p + 1] - batch.offsets[p], tokens);
}

/// The head, with the losses that are asked for.
std::vector<float> losses_of(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks,
                             const RunOptions& options, const std::vector<float>& residual) {
  if (!options.losses || !options.predictions.empty())
    return run_head(weights, batch, hooks, options.predictions, residual);
  const std::vector<Prediction> predictions = next_tokens(batch);
  const std::vector<float> found = run_head(weights, batch, hooks, predictions, residual);
  if (!weights.architecture().head || weights.architecture().pool != Pool::none) return {};
  std::vector<float> losses(batch.ids.size(), std::numeric_limits<float>::quiet_NaN());
  for (size_t i = 0; i < found.size(); ++i) losses[static_cast<size_t>(predictions[i].row)] = found[i];
  return losses;
}

}  // namespace

void check_prompts(const TokenBatch& batch, const Architecture& architecture) {
  if (batch.offsets.size() < 2 || batch.offsets.front() != 0 ||
      batch.offsets.back() != static_cast<int64_t>(batch.ids.size()))
    fail("there is no prompt to run");
  if (architecture.patches) return check_images(batch, architecture);
  if (batch.pixels.images > 0) fail("the model reads text, and cannot take images (--pixels)");
  check_parents(batch, architecture);
  const PromptLayout prompts(batch.offsets, batch.parents);
  for (int64_t p = 0; p < prompts.prompts(); ++p) {
    const int64_t length = prompts.length(p);
    if (prompts.rows(p) < 1) fail("prompt {} is empty: it has no tokens (a model without BOS needs at least one)", p);
    if (architecture.context_length > 0 && length > architecture.context_length)
      fail(
          "prompt {} has {} tokens, but the model's context is {}; shorten it or cut it into windows (--text FILE "
          "--length {})",
          p, length, architecture.context_length, architecture.context_length);
    for (int64_t i = prompts.offsets[p]; i < prompts.offsets[p + 1]; ++i)
      if (const int64_t id = batch.ids[static_cast<size_t>(i)]; id < 0 || id >= architecture.vocabulary)
        fail("prompt {}, token {}: id {} is outside the vocabulary of {} tokens", p, i - prompts.offsets[p], id,
             architecture.vocabulary);
  }
}

RunResult run_model(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks, PassObserver& observer,
                    const RunOptions& options) {
  const auto began = Clock::now();
  const Architecture& a = weights.architecture();
  check_prompts(batch, a);
  check_seen(batch, a, hooks, observer);
  check_predictions(batch, a, options.predictions);
  RunResult result;
  const int64_t n = static_cast<int64_t>(batch.ids.size()), d = a.d_model;
  std::vector<float> residual = embed(weights, batch, hooks);

  if (options.first_layer > 0) {
    if (options.first_layer >= a.n_layers || options.residual.size() != residual.size())
      fail("a pass cannot begin with block {} and {} values: the model has {} blocks, the prompts {} values",
           options.first_layer, options.residual.size(), a.n_layers, residual.size());
    residual = options.residual;
  }

  const bool int8 = !options.int8.empty();
  if (int8 && static_cast<int64_t>(options.int8.size()) != a.n_layers)
    fail("inputs of {} blocks in whole numbers, but the model has {}", options.int8.size(), a.n_layers);

  const PromptLayout prompts(batch.offsets, batch.parents);
  const std::vector<PromptGroup> groups = groups_of(prompts, options.group_rows);
  int64_t largest_group = 0;
  for (const PromptGroup& group : groups) largest_group = std::max(largest_group, group.rows);
  Block block(weights, prompts, largest_group);
  const PromptGroup all{0, static_cast<int64_t>(batch.offsets.size()) - 1, 0, n};
  BlockWeights block_weights;
  std::optional<WeightStream> own_stream;
  WeightStream& stream = options.stream ? *options.stream : own_stream.emplace(weights, false);

  const bool to_the_end = observer.wants_sinks() || options.losses || !options.predictions.empty();
  const int64_t layers = layers_needed(a, hooks, to_the_end);
  for (int layer = options.first_layer; layer < layers; ++layer) {
    const auto loading = Clock::now();
    stream.loading(layer);
    block_weights.load(weights, layer, int8 ? options.int8[static_cast<size_t>(layer)] : BlockInt8Inputs{});
    const bool experts = a.blocks[static_cast<size_t>(layer)].experts;  // converted as they are needed
    if (!experts) stream.loaded(layer);
    result.weight_seconds += seconds_since(loading);

    {
      const Span span("hooks", layer);
      hooks.call({{Point::resid_pre, layer}, 0, {residual.data(), {n, d}, d}});
    }
    std::optional<SinkAccumulator> sinks;
    if (observer.wants_sinks())
      sinks.emplace(attention_shape(a, layer), batch.offsets,
                    observer.kept_tokens(layer, {residual.data(), {n, d}, d}));
    for (const PromptGroup& group : groups) {
      block(block_weights, layer, group, residual.data() + group.first_row * d, hooks, sinks ? &*sinks : nullptr);
      observer.progress((layer + static_cast<double>(group.first_row + group.rows) / static_cast<double>(n)) /
                        static_cast<double>(layers));
    }
    if (experts) {
      block.mixture(block_weights, layer, all, residual.data(), hooks);
      stream.loaded(layer);
    }
    {
      const Span span("check", layer);
      check_finite(residual, batch, d, layer);
    }
    const Span span("observers", layer);
    if (sinks) observer.sinks(layer, sinks->take());
    observer.block_done(layer, {residual.data(), {n, d}, d});
    if (layer + 1 < layers && observer.wants_stop()) {
      result.stopped = true;
      result.seconds = seconds_since(began);
      return result;
    }
  }
  // A hook may want what enters the block after the last one run.
  if (layers < a.n_layers) hooks.call({{Point::resid_pre, static_cast<int>(layers)}, 0, {residual.data(), {n, d}, d}});
  if (layers == a.n_layers) result.losses = losses_of(weights, batch, hooks, options, residual);
  result.seconds = seconds_since(began);
  return result;
}

}  // namespace spikescope
