// Causal attention of one block over whole prompts, by blocks of queries: scores of a block are made, soft-maxed, used,
// reduced into the sink statistics and dropped while they are in cache. No [heads, T, T] tensor exists unless a hook
// asks for it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "model/product.h"
#include "model/sink_statistics.h"

namespace spikescope {

/// Sizes of an attention layer. Query head h reads key / value head h / (heads / kv_heads).
struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 0.0;  ///< on q.k
};

/// Projections of a group of whole prompts, tokens one after the other.
struct AttentionTensors {
  MatrixView q;  ///< [tokens, heads * head_dim], positions applied
  MatrixView k;  ///< [tokens, kv_heads * head_dim], positions applied
  MatrixView v;  ///< [tokens, kv_heads * head_dim]
  MatrixView z;  ///< out: [tokens, heads * head_dim], pattern @ v
};

/// Sink statistics in the making, over all groups of a block.
class SinkAccumulator {
 public:
  /// `offsets`: [prompts + 1] token offsets of all prompts; `tokens`: those whose columns are kept, ascending.
  SinkAccumulator(const AttentionShape& shape, std::span<const int64_t> offsets, std::vector<TokenPosition> tokens);
  SinkStatistics take() { return std::move(statistics_); }

 private:
  friend class CausalAttention;
  void add_square(int64_t prompt, int64_t head, const float* square, int64_t length);
  void keep_columns(int64_t prompt, int64_t head, int64_t begin, const MatrixView& square, const float* inverse_sums);
  SinkStatistics statistics_;
  std::span<const int64_t> offsets_;
  std::vector<size_t> first_kept_;  // [prompts + 1]: where each prompt's kept tokens begin
};

/// Called with a prompt's [heads, T, T] scores (before softmax, -inf where invisible) or pattern; may change them.
using SquareHook = std::function<void(int64_t prompt, float* square, int64_t length)>;

class CausalAttention {
 public:
  explicit CausalAttention(const AttentionShape& shape) : shape_(shape) {}

  /// Prompts [first_prompt, last_prompt) whose tokens are the rows of `tensors`. `sinks` may be null.
  void operator()(const AttentionTensors& tensors, std::span<const int64_t> offsets, int64_t first_prompt,
                  int64_t last_prompt, SinkAccumulator* sinks);

  /// The same by way of whole squares, for hooks on scores or pattern. Either hook may be empty.
  void with_squares(const AttentionTensors& tensors, std::span<const int64_t> offsets, int64_t first_prompt,
                    int64_t last_prompt, SinkAccumulator* sinks, const SquareHook& scores_hook,
                    const SquareHook& pattern_hook);

 private:
  struct Chunk;
  void pack(const AttentionTensors& tensors, std::span<const int64_t> offsets, int64_t first_prompt,
            int64_t last_prompt);
  void run_chunk(const AttentionTensors& tensors, Chunk& chunk, SinkAccumulator* sinks) const;
  void reduce(std::span<const Chunk> chunks, SinkAccumulator& sinks) const;
  void keep_values(const AttentionTensors& tensors, std::span<const int64_t> offsets, int64_t first_prompt,
                   int64_t last_prompt, SinkAccumulator& sinks) const;

  AttentionShape shape_;
  // Of each key / value head of each prompt of the group: keys as columns, values as rows.
  std::vector<Panels> keys_, values_;
};

}  // namespace spikescope
