#include "capture/estimate.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>

#include "model/block.h"
#include "model/runner.h"

namespace spikescope {
namespace {

/// Of a trial: enough for a block to run as it does in a pass, little enough not to be waited for.
constexpr int64_t kMostTokens = 1024, kFewestTokens = 64;
constexpr double kMostFlops = 1.2e11;

/// The program, its libraries, HDF5's buffers; a tokenizer's tables, for each piece. Measured.
constexpr int64_t kProgramBytes = int64_t{36} << 20, kPieceBytes = 320;

/// Around the blocks: the dump's files, states copied and written, the tracker. Measured, and good for any disk that is
/// no slower than a copy: what is written goes to the page cache.
constexpr double kRunSeconds = 0.04, kLayerSeconds = 0.003, kDumpBytesASecond = 1e9;

struct Prompts {
  int64_t windows, length;
  int64_t tokens() const { return windows * length; }
};

bool of_experts(Role role) { return role == Role::expert_gate || role == Role::expert_up || role == Role::expert_down; }

/// Weights of a block's products that a token goes through.
double block_weights(const Architecture& a, int layer) {
  double count = 0.0;
  for (const Role role : all_roles()) {
    const auto [rows, columns] = role_shape(a, role);
    if (columns == 1 || !has_role(a, role, layer)) continue;
    count += static_cast<double>(rows * columns * (of_experts(role) ? a.experts.per_token : 1));
  }
  return count;
}

/// Queries and the keys they see, times what a head does with each, of all heads.
double attention_work(const Architecture& a, int layer, const Prompts& prompts) {
  return static_cast<double>(prompts.windows) * attention_shape(a, layer).pairs(prompts.length) *
         static_cast<double>(a.n_heads * (a.head_dim + a.v_dim()));
}

/// The block that is tried: the first one with experts, or else the first of all.
int trial_layer(const Architecture& a) {
  const auto found =
      std::find_if(a.blocks.begin(), a.blocks.end(), [](const BlockPlan& block) { return block.experts; });
  return found == a.blocks.end() ? 0 : static_cast<int>(found - a.blocks.begin());
}

Prompts trial_of(const Architecture& a, const Prompts& whole) {
  const auto affordable = static_cast<int64_t>(kMostFlops / (2.0 * block_weights(a, trial_layer(a))));
  const int64_t tokens = std::clamp(affordable, kFewestTokens, kMostTokens);
  const int64_t length = std::min(whole.length, tokens);
  return {std::clamp<int64_t>(tokens / length, 1, whole.windows), length};
}

template <class Work>
double seconds_of(const Work& work) {
  double best = 0.0;
  for (int repetition = 0; repetition < 3; ++repetition) {
    const auto began = std::chrono::steady_clock::now();
    work();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    // The first one also fetches memory and wakes threads.
    if (repetition > 0 && (best == 0.0 || seconds < best)) best = seconds;
  }
  return best;
}

struct BlockSeconds {
  double weights, attention, rest;
};

/// Times a block's weights, its attention and what else there is.
BlockSeconds try_block(const ModelWeights& weights, const Prompts& trial) {
  const Architecture& a = weights.architecture();
  const int layer = trial_layer(a);
  const int64_t n = trial.tokens(), stride = a.q_size() + a.k_size() + a.v_size();
  std::vector<int64_t> offsets;
  std::vector<TokenPosition> first_tokens;
  for (int64_t p = 0; p <= trial.windows; ++p) offsets.push_back(p * trial.length);
  for (int64_t p = 0; p < trial.windows; ++p) first_tokens.emplace_back(p, 0);
  const AttentionShape shape = attention_shape(a, layer);
  const bool experts = a.blocks[static_cast<size_t>(layer)].experts;

  BlockSeconds result{};
  BlockWeights converted;
  result.weights = seconds_of([&] { converted.load(weights, layer); });

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values) {
    for (float& value : values) value = normal(random);
  };
  std::vector<float> projections(static_cast<size_t>(n * stride)), z(static_cast<size_t>(n * a.z_size()));
  fill(projections);
  float* const q = projections.data();
  Attention attention;
  result.attention = seconds_of([&] {
    SinkAccumulator sinks(shape, offsets, first_tokens);
    attention(shape,
              {{q, n, a.q_size(), stride},
               {q + a.q_size(), n, a.k_size(), stride},
               {q + a.q_size() + a.k_size(), n, a.v_size(), stride},
               {z.data(), n, a.z_size(), a.z_size()}},
              offsets, 0, trial.windows, &sinks);
  });

  std::vector<float> start(static_cast<size_t>(n * a.d_model)), residual;
  fill(start);
  Block block(weights, offsets, n);
  const Hooks hooks;
  const PromptGroup all{0, trial.windows, 0, n};
  const double whole = seconds_of([&] {
    residual = start;
    SinkAccumulator sinks(shape, offsets, first_tokens);
    block(converted, layer, all, residual.data(), hooks, &sinks);
    if (experts) block.mixture(converted, layer, all, residual.data(), hooks);
  });
  result.rest = std::max(0.0, whole - result.attention);
  if (experts) {
    // Experts are converted as they are needed, which with enough tokens is all of them once.
    Linear expert;
    const double conversion = seconds_of([&] {
      for (const Role role : {Role::expert_gate, Role::expert_up, Role::expert_down})
        expert.load(weights, {{{role, layer, 0}}});
    });
    result.weights += conversion * static_cast<double>(a.experts.count);
    const int64_t needed = std::min(a.experts.count, n * a.experts.per_token);
    result.rest = std::max(0.0, result.rest - conversion * static_cast<double>(needed));
  }
  return result;
}

/// Of the tensors of one block, each counted once.
int64_t block_file_bytes(const ModelWeights& weights, int layer) {
  std::set<const TensorInfo*> tensors;
  for (const WeightKey& key : weight_keys(weights.architecture(), layer)) tensors.insert(&weights.tensor(key));
  int64_t bytes = 0;
  for (const TensorInfo* tensor : tensors) bytes += static_cast<int64_t>(tensor->bytes.size());
  return bytes;
}

/// Of a block's matrices that are converted at a time: one expert's, and all others.
int64_t converted_bytes(const ModelWeights& weights, int layer) {
  const Architecture& a = weights.architecture();
  int64_t bytes = 0;
  for (const Role role : all_roles()) {
    if (!has_role(a, role, layer)) continue;
    const auto [rows, columns] = role_shape(a, role);
    bytes +=
        Panels::bytes(rows * columns, weights.tensor({role, layer, of_experts(role) ? 0 : -1}).format->mantissa_bits);
  }
  return bytes;
}

int64_t peak_bytes(const ModelWeights& weights, const Prompts& prompts, int64_t group_rows) {
  const Architecture& a = weights.architecture();
  const int layer = trial_layer(a);
  const int64_t rows = std::min(prompts.tokens(), std::max(group_rows, prompts.length));
  const int64_t value = sizeof(float);
  // The stream itself, and what the dump and --resume hold of it at a time.
  int64_t residual = 5 * prompts.tokens() * a.d_model * value / 2;
  if (a.blocks[static_cast<size_t>(layer)].experts)  // what they read and what they give
    residual += 2 * prompts.tokens() * a.d_model * value;
  const int64_t projections = rows * (a.q_size() + a.k_size() + a.v_size() + a.z_size()) * value +
                              Panels::bytes(rows * (a.k_size() + a.v_size()));
  // Sums over queries, in double while a group is in work: of each chunk of 512 queries of each head.
  const int64_t chunks = (prompts.length + 511) / 512;
  const int64_t sums =
      rows * a.n_heads * chunks * static_cast<int64_t>(sizeof(double)) + 4 * prompts.tokens() * a.n_heads * value;
  const int64_t scores = threads() * kScoreRows * prompts.length * value;
  // What lies between two products, of the rows that a thread has in work, and a copy of the widest of it.
  const int64_t between = (a.gated ? 4 : 3) * a.mlp_width + 2 * a.d_model;
  const int64_t scratch = threads() * rows_of_a_piece(rows) * between * value;
  const int64_t converted = converted_bytes(weights, layer);
  return kProgramBytes + kPieceBytes * a.vocabulary + residual + projections + sums + scores + scratch + converted +
         2 * block_file_bytes(weights, layer);
}

}  // namespace

CaptureEstimate estimate_capture(const Checkpoint& checkpoint, int64_t windows, int64_t length) {
  const Architecture& a = checkpoint.architecture();
  const Prompts whole{windows, length}, trial = trial_of(a, whole);
  const BlockSeconds block = try_block(checkpoint.weights(), trial);
  const double linear = static_cast<double>(whole.tokens()) / static_cast<double>(trial.tokens());
  const double tried_attention = attention_work(a, trial_layer(a), trial);

  CaptureEstimate estimate;
  estimate.tokens = whole.tokens();
  estimate.dump_bytes = whole.tokens() * a.d_model * a.n_layers * static_cast<int64_t>(sizeof(float));
  double flops = 0.0;
  for (int layer = 0; layer < a.n_layers; ++layer) {
    const double attention = attention_work(a, layer, whole);
    estimate.seconds += block.weights + block.rest * linear + block.attention * attention / tried_attention;
    flops += 2.0 * (block_weights(a, layer) * static_cast<double>(whole.tokens()) + attention);
  }
  estimate.seconds += kRunSeconds + kLayerSeconds * static_cast<double>(a.n_layers) +
                      static_cast<double>(estimate.dump_bytes) / kDumpBytesASecond;
  estimate.compute_rate = flops / estimate.seconds;
  estimate.peak_bytes = peak_bytes(checkpoint.weights(), whole, RunOptions{}.group_rows);
  return estimate;
}

}  // namespace spikescope
