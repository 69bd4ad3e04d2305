// Attention of one block over whole prompts, by blocks of queries: scores of a block are made, soft-maxed, used,
// reduced into the sink statistics and dropped while they are in cache. No [heads, T, T] tensor exists unless a hook
// asks for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hooks/attention_bias.h"
#include "model/architecture.h"
#include "model/product.h"
#include "model/prompt_layout.h"
#include "model/sink_statistics.h"

namespace spikescope {

/// An attention layer. Query head h reads key / value head h / (heads / kv_heads). A score is
/// cap(scale q.k) + slope (key - query), and only visible keys count.
struct AttentionShape {
  int64_t heads = 0, kv_heads = 0;
  int64_t head_dim = 0;             ///< of queries and keys
  int64_t v_dim = 0;                ///< of values
  double scale = 0.0;               ///< on q.k
  bool causal = true;               ///< a query sees no keys after it
  int64_t window = 0;               ///< > 0: nor keys that are so many before it
  double softcap = 0.0;             ///< c: cap(s) = c tanh(s / c); 0: cap(s) = s
  std::vector<double> slopes = {};  ///< [heads] of ALiBi; empty: 0

  /// Keys [first, last) that query `query` of a prompt of `length` tokens sees.
  int64_t first_key(int64_t query) const { return window > 0 ? std::max<int64_t>(0, query - window + 1) : 0; }
  int64_t last_key(int64_t query, int64_t length) const { return causal ? query + 1 : length; }
  /// Pairs of a query and a key it sees.
  double pairs(int64_t length) const;
};
AttentionShape attention_shape(const Architecture& architecture, int layer);

/// Why a layer can have no keys of an AttentionBias; empty: it can. They stand nowhere, so that no distance from them
/// counts: neither ALiBi's nor that of a sliding window.
std::string_view why_no_attention_bias(const AttentionShape& shape);
/// Throws Error for keys and values of other sizes than the layer's, and where it can have none.
void check_attention_bias(const AttentionShape& shape, const AttentionBias& bias);

/// Projections of a group of whole prompts, tokens one after the other.
struct AttentionTensors {
  MatrixView q;  ///< [tokens, heads * head_dim], positions applied
  MatrixView k;  ///< [tokens, kv_heads * head_dim], positions applied
  MatrixView v;  ///< [tokens, kv_heads * v_dim]
  MatrixView z;  ///< out: [tokens, heads * v_dim], pattern @ v
};

/// Sink statistics in the making, over all groups of a block.
class SinkAccumulator {
 public:
  /// `offsets`: [prompts + 1] token offsets of all prompts; `tokens`: those whose columns are kept, ascending.
  SinkAccumulator(const AttentionShape& shape, std::span<const int64_t> offsets, std::vector<TokenPosition> tokens);
  SinkStatistics take() { return std::move(statistics_); }

 private:
  friend class Attention;
  void add_square(int64_t prompt, int64_t head, const float* square, int64_t length);
  void keep_columns(int64_t prompt, int64_t head, int64_t first_query, int64_t first_key, const MatrixView& square,
                    const float* inverse_sums);
  AttentionShape shape_;
  SinkStatistics statistics_;
  std::span<const int64_t> offsets_;
  std::vector<size_t> first_kept_;  // [prompts + 1]: where each prompt's kept tokens begin
};

/// Called with a prompt's [heads, T, T] scores (before softmax, -inf where invisible) or pattern; may change them.
using SquareHook = std::function<void(int64_t prompt, float* square, int64_t length)>;

/// Rows of scores that a thread has at a time, at most.
inline constexpr int64_t kScoreRows = 96;

class Attention {
 public:
  /// Prompts [first_prompt, last_prompt) whose tokens are the rows of `tensors`; with a prompt comes its parent, which
  /// causal attention alone can have. `sinks` may be null, and is where any prompt has a parent or `bias` says
  /// anything: its hidden tokens count as `prompts` does. Throws Error as check_attention_bias does.
  void operator()(const AttentionShape& shape, const AttentionTensors& tensors, const PromptLayout& prompts,
                  int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks, const AttentionBias& bias = {});

  /// The same by way of whole squares, for hooks on scores or pattern, of prompts without parents. Either hook may be
  /// empty.
  void with_squares(const AttentionShape& shape, const AttentionTensors& tensors, std::span<const int64_t> offsets,
                    int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks, const SquareHook& scores_hook,
                    const SquareHook& pattern_hook);

 private:
  struct Chunk;
  void pack(const AttentionShape& shape, const AttentionTensors& tensors, const PromptLayout& prompts,
            int64_t first_prompt, int64_t last_prompt, const AttentionBias& bias = {});
  void run_chunk(const AttentionShape& shape, const AttentionTensors& tensors, Chunk& chunk,
                 SinkAccumulator* sinks) const;
  static void add_to_sums(const AttentionShape& shape, Chunk& chunk, int64_t head_of_group, int64_t begin,
                          int64_t count, int64_t from, int64_t to, const float* patterns, int64_t stride,
                          const float* inverse, float* late_sums);
  static void reduce(const AttentionShape& shape, std::span<const Chunk> chunks, SinkAccumulator& sinks);
  static void keep_values(const AttentionShape& shape, const AttentionTensors& tensors,
                          std::span<const int64_t> offsets, int64_t first_prompt, int64_t last_prompt,
                          SinkAccumulator& sinks);

  // Of each key / value head of each prompt of the group: keys as columns, values as rows.
  std::vector<Panels> keys_, values_;
};

}  // namespace spikescope
