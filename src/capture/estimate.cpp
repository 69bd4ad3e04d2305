#include "capture/estimate.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "model/block.h"
#include "model/runner.h"

namespace spikescope {
namespace {

/// Of a trial: enough for a block to run as it does in a pass, little enough not to be waited for.
constexpr int64_t kMostTokens = 1024, kFewestTokens = 64;
constexpr double kMostFlops = 6e10;

/// The program, its libraries, HDF5's buffers; a tokenizer's tables, for each piece. Measured.
constexpr int64_t kProgramBytes = int64_t{36} << 20, kPieceBytes = 320;

/// Around the blocks: the dump's files, states copied and written, the tracker. Measured, and good for any disk that is
/// no slower than a copy: what is written goes to the page cache.
constexpr double kRunSeconds = 0.04, kLayerSeconds = 0.002, kDumpBytesASecond = 1.5e9;

struct Prompts {
  int64_t windows, length;
  int64_t tokens() const { return windows * length; }
  /// Queries and the keys they see.
  double pairs() const {
    return static_cast<double>(windows) * static_cast<double>(length) * static_cast<double>(length + 1) / 2.0;
  }
};

/// Weights of a block's products.
double block_weights(const Architecture& a) {
  return static_cast<double>(a.d_model) *
         static_cast<double>(2 * a.n_heads * a.head_dim + 2 * a.n_kv_heads * a.head_dim + 3 * a.mlp_width);
}

Prompts trial_of(const Architecture& a, const Prompts& whole) {
  const auto affordable = static_cast<int64_t>(kMostFlops / (2.0 * block_weights(a)));
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

/// Times the first block's weights, its attention and what else there is.
BlockSeconds try_block(const ModelWeights& weights, const Prompts& trial) {
  const Architecture& a = weights.architecture();
  const int64_t n = trial.tokens(), q = a.n_heads * a.head_dim, kv = a.n_kv_heads * a.head_dim, stride = q + 2 * kv;
  std::vector<int64_t> offsets;
  std::vector<TokenPosition> first_tokens;
  for (int64_t p = 0; p <= trial.windows; ++p) offsets.push_back(p * trial.length);
  for (int64_t p = 0; p < trial.windows; ++p) first_tokens.emplace_back(p, 0);
  const AttentionShape shape{a.n_heads, a.n_kv_heads, a.head_dim, a.attention_scale};

  BlockSeconds result{};
  BlockWeights converted;
  result.weights = seconds_of([&] { converted.load(weights, 0); });

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values) {
    for (float& value : values) value = normal(random);
  };
  std::vector<float> projections(static_cast<size_t>(n * stride)), z(static_cast<size_t>(n * q));
  fill(projections);
  CausalAttention attention(shape);
  result.attention = seconds_of([&] {
    SinkAccumulator sinks(shape, offsets, first_tokens);
    attention({{projections.data(), n, q, stride},
               {projections.data() + q, n, kv, stride},
               {projections.data() + q + kv, n, kv, stride},
               {z.data(), n, q, q}},
              offsets, 0, trial.windows, &sinks);
  });

  std::vector<float> start(static_cast<size_t>(n * a.d_model)), residual;
  fill(start);
  Block block(a, offsets, n);
  const Hooks hooks;
  const double whole = seconds_of([&] {
    residual = start;
    SinkAccumulator sinks(shape, offsets, first_tokens);
    block(converted, 0, {0, trial.windows, 0, n}, residual.data(), hooks, &sinks);
  });
  result.rest = std::max(0.0, whole - result.attention);
  return result;
}

int64_t block_file_bytes(const ModelWeights& weights) {
  int64_t bytes = 0;
  for (const Role role : all_roles())
    if (const TensorInfo* tensor = is_per_block(role) ? weights.tensor(role, 0) : nullptr)
      bytes += static_cast<int64_t>(tensor->bytes.size());
  return bytes;
}

int64_t peak_bytes(const ModelWeights& weights, const Prompts& prompts, int64_t group_rows) {
  const Architecture& a = weights.architecture();
  const int64_t q = a.n_heads * a.head_dim, kv = a.n_kv_heads * a.head_dim;
  const int64_t rows = std::min(prompts.tokens(), std::max(group_rows, prompts.length));
  const int64_t value = sizeof(float);
  // The stream itself, and what the dump and --resume hold of it at a time.
  const int64_t residual = 5 * prompts.tokens() * a.d_model * value / 2;
  const int64_t projections = rows * (2 * q + 4 * kv) * value;  // with keys and values in panels
  // Sums over queries, in double while a group is in work: of each chunk of 512 queries of each head.
  const int64_t chunks = (prompts.length + 511) / 512;
  const int64_t sums =
      rows * a.n_heads * chunks * static_cast<int64_t>(sizeof(double)) + 4 * prompts.tokens() * a.n_heads * value;
  const int64_t scores = threads() * 56 * prompts.length * value;
  const auto converted = static_cast<int64_t>(block_weights(a)) * value;
  return kProgramBytes + kPieceBytes * a.vocabulary + residual + projections + sums + scores + converted +
         2 * block_file_bytes(weights);
}

}  // namespace

CaptureEstimate estimate_capture(const Checkpoint& checkpoint, int64_t windows, int64_t length) {
  const Architecture& a = checkpoint.architecture();
  const Prompts whole{windows, length}, trial = trial_of(a, whole);
  const BlockSeconds block = try_block(checkpoint.weights(), trial);
  const auto layers = static_cast<double>(a.n_layers);
  const double linear = static_cast<double>(whole.tokens()) / static_cast<double>(trial.tokens());

  CaptureEstimate estimate;
  estimate.tokens = whole.tokens();
  estimate.dump_bytes = whole.tokens() * a.d_model * a.n_layers * static_cast<int64_t>(sizeof(float));
  estimate.seconds = layers * (block.weights + block.rest * linear + block.attention * whole.pairs() / trial.pairs()) +
                     kRunSeconds + kLayerSeconds * layers +
                     static_cast<double>(estimate.dump_bytes) / kDumpBytesASecond;
  const double flops = layers * (2.0 * block_weights(a) * static_cast<double>(whole.tokens()) +
                                 4.0 * whole.pairs() * static_cast<double>(a.n_heads * a.head_dim));
  estimate.compute_rate = flops / estimate.seconds;
  estimate.peak_bytes = peak_bytes(checkpoint.weights(), whole, RunOptions{}.group_rows);
  return estimate;
}

}  // namespace spikescope
