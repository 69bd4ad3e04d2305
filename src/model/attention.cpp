#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "model/mlp.h"
#include "model/softmax.h"

namespace spikescope {
namespace {

/// Heads of a group and queries whose scores are made at a time. Together they are kScoreRows or somewhat less, so that
/// the keys and values, which do not fit the second-level cache beside the scores, are fetched the less often; queries
/// in whole tiles, and few, so that little is computed beyond the diagonal.
struct RowBlock {
  int64_t heads, queries;
};
RowBlock row_block(int64_t group) {
  constexpr int64_t kTile = 16;
  const int64_t most_heads = kScoreRows / kTile, parts = (group + most_heads - 1) / most_heads;
  const int64_t heads = (group + parts - 1) / parts;
  return {heads, kScoreRows / heads / kTile * kTile};
}

/// Keys whose scores are exponentiated and multiplied with their values at a time.
constexpr int64_t kKeysAtOnce = 512;

/// Query blocks of a head that share their sums. The split must not depend on the number of threads: sums are added up
/// in the same order on every machine.
constexpr int64_t kQueriesPerChunk = 512;

/// Queries whose probabilities are added up in float32 before they go to the sums in double.
constexpr int64_t kQueriesPerFlush = 128;

/// Keys are left out of a windowed block in whole panels, whatever their kind.
constexpr int64_t kKeyStep = 32;

/// Scores of a query from its products with keys [first_key, first_key + count), but for the plain scale.
void finish_scores(const AttentionShape& shape, int64_t head, int64_t query, int64_t first_key, int64_t count,
                   float* scores) {
  const float scale = static_cast<float>(shape.scale);
  for (int64_t i = 0; i < count; ++i) scores[i] *= scale;
  if (shape.softcap > 0.0) soft_cap(scores, count, shape.softcap);
  if (shape.slopes.empty()) return;
  const double slope = shape.slopes[static_cast<size_t>(head)];
  for (int64_t i = 0; i < count; ++i)
    scores[i] += static_cast<float>(slope * static_cast<double>(first_key + i - query));
}

/// Rows that are read soon: they lie far apart, where the processor does not look ahead by itself.
void prefetch_rows(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  constexpr int64_t kLine = 16;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; i += kLine) __builtin_prefetch(data + row * stride + i);
}

/// Keys of a prompt, those of a bias and of its parent before its own, that the bias takes away, ascending.
std::vector<int64_t> hidden_keys(const PromptLayout& prompts, int64_t prompt, const AttentionBias& bias) {
  std::vector<int64_t> keys;
  int64_t before = bias.rows;
  for (const int64_t of : {prompts.parent(prompt), prompt}) {
    if (of < 0) continue;
    const auto first = std::lower_bound(bias.hidden.begin(), bias.hidden.end(), prompts.offsets[of]);
    for (auto token = first; token != bias.hidden.end() && *token < prompts.offsets[of + 1]; ++token)
      keys.push_back(before + *token - prompts.offsets[of]);
    before += prompts.rows(of);
  }
  return keys;
}

}  // namespace

double AttentionShape::pairs(int64_t length) const {
  double count = 0.0;
  for (int64_t query = 0; query < length; ++query)
    count += static_cast<double>(last_key(query, length) - first_key(query));
  return count;
}

AttentionShape attention_shape(const Architecture& a, int layer) {
  return {.heads = a.n_heads,
          .kv_heads = a.n_kv_heads,
          .head_dim = a.head_dim,
          .v_dim = a.v_dim(),
          .scale = a.attention_scale,
          .causal = a.causal,
          .window = a.blocks[static_cast<size_t>(layer)].window,
          .softcap = a.attention_softcap,
          .slopes = a.alibi_slopes};
}

std::string_view why_no_attention_bias(const AttentionShape& shape) {
  if (!shape.slopes.empty()) return "its scores depend on the distance of a key (ALiBi), and a bias stands nowhere";
  if (shape.window > 0) return "it sees a sliding window of keys, and a bias stands nowhere";
  return {};
}

void check_attention_bias(const AttentionShape& shape, const AttentionBias& bias) {
  if (bias.rows == 0) return;
  if (const std::string_view why = why_no_attention_bias(shape); !why.empty())
    fail("attention cannot have a bias here: {}", why);
  const auto size = [&](int64_t of_head) { return static_cast<size_t>(bias.rows * shape.kv_heads * of_head); };
  if (bias.keys.size() != size(shape.head_dim) || bias.values.size() != size(shape.v_dim))
    fail("an attention bias of {} keys has {} and {} values; expected {} and {}", bias.rows, bias.keys.size(),
         bias.values.size(), size(shape.head_dim), size(shape.v_dim));
}

SinkAccumulator::SinkAccumulator(const AttentionShape& shape, std::span<const int64_t> offsets,
                                 std::vector<TokenPosition> tokens)
    : shape_(shape), offsets_(offsets) {
  const size_t prompts = offsets.size() - 1;
  const size_t n = static_cast<size_t>(offsets.back());
  statistics_.heads = shape.heads;
  statistics_.kv_heads = shape.kv_heads;
  statistics_.head_dim = shape.v_dim;
  statistics_.column_sums.assign(static_cast<size_t>(shape.heads) * n, 0.0f);
  statistics_.late_column_sums.assign(static_cast<size_t>(shape.heads) * n, 0.0f);
  statistics_.entropy.assign(static_cast<size_t>(shape.heads) * prompts, 0.0f);
  statistics_.values.assign(tokens.size() * static_cast<size_t>(shape.kv_heads * shape.v_dim), 0.0f);
  for (const auto& [prompt, token] : tokens) {
    const size_t length = static_cast<size_t>(offsets[prompt + 1] - offsets[prompt]);
    statistics_.columns.emplace_back(length * static_cast<size_t>(shape.heads), 0.0f);
  }
  for (size_t prompt = 0; prompt <= prompts; ++prompt)
    first_kept_.push_back(static_cast<size_t>(
        std::lower_bound(tokens.begin(), tokens.end(), TokenPosition(static_cast<int64_t>(prompt), 0)) -
        tokens.begin()));
  statistics_.tokens = std::move(tokens);
}

/// Work of one thread at a time: every `step`-th block of queries of one key / value head of one prompt. Blocks cost
/// more the later they are, so the chunks of a head take turns; each has sums of its own, added up in a fixed order.
struct Attention::Chunk {
  int64_t prompt = 0, kv_head = 0, first_block = 0, step = 1;
  int64_t base = 0;             ///< keys before that of the prompt's first row: a bias's and the parent's
  int64_t row = 0;              ///< row of key 0 in the tensors, if the prompt's own rows went on before them
  int64_t length = 0;           ///< keys of the prompt, with those of its parent and of a bias
  int64_t panels = 0;           ///< index of its keys and values
  std::vector<double> early;    ///< [heads of the group, early keys]: sums over queries 1 .. 15
  std::vector<double> late;     ///< [heads of the group, T]: from 16 on
  std::vector<double> entropy;  ///< [heads of the group]
  std::vector<int64_t> hidden;  ///< keys that no query sees

  /// Keys that queries 1 .. 15 can see.
  int64_t early_keys(const AttentionShape& shape) const {
    return shape.causal ? std::min(length, SinkStatistics::kLateQuery) : length;
  }
};

void Attention::pack(const AttentionShape& shape, const AttentionTensors& tensors, const PromptLayout& prompts,
                     int64_t first_prompt, int64_t last_prompt, const AttentionBias& bias) {
  const size_t count = static_cast<size_t>((last_prompt - first_prompt) * shape.kv_heads);
  if (keys_.size() < count) keys_.resize(count), values_.resize(count);
  parallel_for(static_cast<int64_t>(count), [&](int64_t i) {
    const Span span("keys, values");
    const int64_t prompt = first_prompt + i / shape.kv_heads, head = i % shape.kv_heads;
    const int64_t parent = prompts.parent(prompt), base = prompts.base(prompt);
    const int64_t length = bias.rows + prompts.length(prompt);
    const auto rows_of = [&](const MatrixView& m, int64_t size, int64_t of) {
      const int64_t row = prompts.offsets[of] - prompts.offsets[first_prompt];
      return ConstMatrixView(m.data + row * m.stride + head * size, prompts.rows(of), size, m.stride);
    };
    Panels &keys = keys_[static_cast<size_t>(i)], &values = values_[static_cast<size_t>(i)];
    keys.reset(shape.head_dim, length);
    keys.set_columns(bias.rows + base, rows_of(tensors.k, shape.head_dim, prompt));
    values.reset(length, shape.v_dim);
    if (parent < 0 && bias.rows == 0) return values.set_rows(rows_of(tensors.v, shape.v_dim, prompt));
    const auto of_bias = [&](std::span<const float> all, int64_t size) {
      return ConstMatrixView(all.data() + head * size, bias.rows, size, shape.kv_heads * size);
    };
    if (bias.rows > 0) keys.set_columns(0, of_bias(bias.keys, shape.head_dim));
    if (parent >= 0) keys.set_columns(bias.rows, rows_of(tensors.k, shape.head_dim, parent));
    thread_local Buffer joined;  // values of the bias, the parent's and its own
    joined.resize(length * shape.v_dim);
    float* to = joined.data();
    const auto join = [&](const ConstMatrixView& rows) {
      for (int64_t row = 0; row < rows.rows; ++row, to += shape.v_dim)
        std::copy_n(rows.data + row * rows.stride, shape.v_dim, to);
    };
    if (bias.rows > 0) join(of_bias(bias.values, shape.v_dim));
    if (parent >= 0) join(rows_of(tensors.v, shape.v_dim, parent));
    join(rows_of(tensors.v, shape.v_dim, prompt));
    values.set_rows({joined.data(), length, shape.v_dim, shape.v_dim});
  });
}

void Attention::operator()(const AttentionShape& shape, const AttentionTensors& tensors, const PromptLayout& prompts,
                           int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks,
                           const AttentionBias& bias) {
  check_attention_bias(shape, bias);
  pack(shape, tensors, prompts, first_prompt, last_prompt, bias);
  std::vector<Chunk> chunks;
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const std::vector<int64_t> hidden = hidden_keys(prompts, prompt, bias);
    const int64_t parts = (prompts.rows(prompt) + kQueriesPerChunk - 1) / kQueriesPerChunk;
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head)
      for (int64_t part = 0; part < parts; ++part) {
        Chunk chunk;
        chunk.prompt = prompt;
        chunk.kv_head = kv_head;
        chunk.first_block = part;
        chunk.step = parts;
        chunk.base = bias.rows + prompts.base(prompt);
        chunk.row = prompts.offsets[prompt] - prompts.offsets[first_prompt] - chunk.base;
        chunk.length = bias.rows + prompts.length(prompt);
        chunk.hidden = hidden;
        chunk.panels = (prompt - first_prompt) * shape.kv_heads + kv_head;
        chunks.push_back(std::move(chunk));
      }
  }
  {
    const SerialProducts serial;
    parallel_for(static_cast<int64_t>(chunks.size()),
                 [&](int64_t i) { run_chunk(shape, tensors, chunks[static_cast<size_t>(i)], sinks); });
  }
  if (sinks) {
    const Span span("sinks");
    reduce(shape, chunks, *sinks);
    keep_values(shape, tensors, prompts.offsets, first_prompt, last_prompt, *sinks);
  }
}

void Attention::run_chunk(const AttentionShape& shape, const AttentionTensors& tensors, Chunk& chunk,
                          SinkAccumulator* sinks) const {
  const int64_t group = shape.heads / shape.kv_heads, hd = shape.head_dim, vd = shape.v_dim;
  const RowBlock most = row_block(group);
  const int64_t length = chunk.length, block = most.queries, first_of_group = chunk.kv_head * group;
  const int64_t early_keys = chunk.early_keys(shape);
  const Span span("attention", -1,
                  2.0 * (shape.pairs(length) - shape.pairs(chunk.base)) * static_cast<double>(group * (hd + vd)) /
                      static_cast<double>(chunk.step));
  const Panels& keys = keys_[static_cast<size_t>(chunk.panels)];
  const Panels& values = values_[static_cast<size_t>(chunk.panels)];
  thread_local Buffer queries, scores, outputs, late_sums;
  thread_local LeftSide pattern;
  thread_local std::vector<SoftmaxSums> sums;
  thread_local std::vector<float> shifts, inverse;
  thread_local std::vector<double> most_entropy;  // of a query: log(keys it sees)
  // Rows of scores as the product with the values takes them, or else no wider than they have to be.
  int64_t most_keys = keys.whole_columns(length);
  if (shape.window > 0 && shape.causal) most_keys = std::min(most_keys, shape.window + block + 2 * kKeyStep);
  const int64_t stride = left_stride(most_keys), query_stride = left_stride(hd);
  const auto stride_of = [&](int64_t width) { return stride == most_keys ? width : stride; };
  const bool plain_scores = shape.softcap == 0.0 && shape.slopes.empty();
  const float scale = plain_scores ? static_cast<float>(shape.scale) : 1.0f;
  constexpr float kInvisible = -std::numeric_limits<float>::infinity();
  const int64_t most_rows = most.heads * block;
  queries.resize(most_rows * query_stride);
  scores.resize(most_rows * stride);
  outputs.resize(most_rows * vd);
  sums.resize(static_cast<size_t>(most_rows));
  shifts.resize(static_cast<size_t>(most_rows));
  inverse.resize(static_cast<size_t>(most_rows));
  most_entropy.resize(static_cast<size_t>(block));
  if (sinks) {
    chunk.early.assign(static_cast<size_t>(group * early_keys), 0.0);
    chunk.late.assign(static_cast<size_t>(group * length), 0.0);
    chunk.entropy.assign(static_cast<size_t>(group), 0.0);
    late_sums.resize(group * length);
    std::fill_n(late_sums.data(), group * length, 0.0f);
  }
  int64_t waiting = 0;  // queries in late_sums
  const auto flush = [&] {
    for (int64_t i = 0; i < group * length; ++i) {
      chunk.late[static_cast<size_t>(i)] += late_sums[i];
      late_sums[i] = 0.0f;
    }
    waiting = 0;
  };

  for (int64_t begin = chunk.base + chunk.first_block * block; begin < length; begin += chunk.step * block) {
    const int64_t end = std::min(begin + block, length), count = end - begin;
    // Keys [from, to) that one of the block's queries sees, and what stands beside them in a panel.
    const int64_t from = shape.first_key(begin) / kKeyStep * kKeyStep, to = shape.last_key(end - 1, length);
    const int64_t width = keys.whole_columns(to) - from, row = stride_of(width);
    if (const int64_t next = begin + chunk.step * block; next < length)
      prefetch_rows(tensors.q.data + (chunk.row + next) * tensors.q.stride + first_of_group * hd,
                    std::min(block, length - next), group * hd, tensors.q.stride);
    for (int64_t t = 0; t < count; ++t)
      most_entropy[static_cast<size_t>(t)] =
          std::log(static_cast<double>(shape.last_key(begin + t, length) - shape.first_key(begin + t)));
    for (int64_t first = 0; first < group; first += most.heads) {
      // Rows: the queries of the first head, then those of the next.
      const int64_t heads = std::min(most.heads, group - first), rows = heads * count;
      const auto place = [&](const MatrixView& m, int64_t r, int64_t size) {
        return m.data + (chunk.row + begin + r % count) * m.stride + (first_of_group + first + r / count) * size;
      };
      for (int64_t r = 0; r < rows; ++r) std::copy_n(place(tensors.q, r, hd), hd, queries.data() + r * query_stride);
      product_part({queries.data(), rows, hd, query_stride}, keys, 0, from, {scores.data(), rows, width, row});
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t query = begin + r % count, hidden = shape.first_key(query) - from;
        const int64_t visible = shape.last_key(query, length) - from - hidden;
        float* const all = scores.data() + r * row;
        if (!plain_scores)
          finish_scores(shape, first_of_group + first + r / count, query, from + hidden, visible, all + hidden);
        std::fill(all, all + hidden, kInvisible);
        std::fill(all + hidden + visible, all + width, kInvisible);
        for (const int64_t key : chunk.hidden)
          if (key >= from && key < to) all[key - from] = kInvisible;
        // Nothing to see: exp(-inf - 0) = 0.
        const float largest = row_maximum(all, width);
        shifts[static_cast<size_t>(r)] = largest == kInvisible ? 0.0f : largest;
        sums[static_cast<size_t>(r)] = {};
      }
      for (int64_t key = 0; key < width; key += kKeysAtOnce) {
        const int64_t keys_here = std::min(kKeysAtOnce, width - key);
        pattern.reset(rows, std::min(keys_here, to - from - key));
        for (int64_t r = 0; r < rows; ++r) {
          float* const here = scores.data() + r * row + key;
          exponentials(here, keys_here, shifts[static_cast<size_t>(r)], scale, sums[static_cast<size_t>(r)]);
          pattern.set_row(r, here);
        }
        product_part(pattern, values, from + key, 0, {outputs.data(), rows, vd, vd}, key > 0);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const SoftmaxSums& sum = sums[static_cast<size_t>(r)];
        const float factor = inverse[static_cast<size_t>(r)] = sum.exponentials > 0.0 ? sum.inverse() : 0.0f;
        float* const z = place(tensors.z, r, vd);
        for (int64_t i = 0; i < vd; ++i) z[i] = outputs[r * vd + i] * factor;
      }
      if (!sinks) continue;
      for (int64_t h = 0; h < heads; ++h) {
        const float* const patterns = scores.data() + h * count * row;
        const size_t first_row = static_cast<size_t>(h * count);
        add_to_sums(shape, chunk, first + h, begin, count, from, to, patterns, row, inverse.data() + first_row,
                    late_sums.data() + (first + h) * length);
        for (int64_t t = 0; t < count; ++t)
          if (begin + t >= 1 && most_entropy[static_cast<size_t>(t)] > 0.0)
            chunk.entropy[static_cast<size_t>(first + h)] +=
                sums[first_row + static_cast<size_t>(t)].entropy() / most_entropy[static_cast<size_t>(t)];
        sinks->keep_columns(chunk.prompt, first_of_group + first + h, begin, from,
                            {scores.data() + h * count * row, count, to - from, row}, inverse.data() + first_row);
      }
    }
    waiting += count;
    if (sinks && waiting >= kQueriesPerFlush) flush();
  }
  if (sinks) flush();
}

/// Column sums of the block's queries of one head: those of queries 1 .. 15 go to one sum, those from 16 on to another,
/// those of query 0 to none.
void Attention::add_to_sums(const AttentionShape& shape, Chunk& chunk, int64_t head_of_group, int64_t begin,
                            int64_t count, int64_t from, int64_t to, const float* patterns, int64_t stride,
                            const float* inverse, float* late_sums) {
  const int64_t end = begin + count, early_keys = chunk.early_keys(shape);
  for (int64_t query = std::max<int64_t>(begin, 1); query < std::min(end, SinkStatistics::kLateQuery); ++query)
    for (int64_t key = shape.first_key(query); key < shape.last_key(query, chunk.length); ++key)
      chunk.early[static_cast<size_t>(head_of_group * early_keys + key)] +=
          patterns[(query - begin) * stride + key - from] * inverse[query - begin];
  const int64_t first_late = std::max(begin, SinkStatistics::kLateQuery) - begin;
  if (first_late < count)
    add_scaled_rows(patterns + first_late * stride, stride, inverse + first_late, count - first_late, to - from,
                    late_sums + from);
}

void SinkAccumulator::keep_columns(int64_t prompt, int64_t head, int64_t first_query, int64_t first_key,
                                   const MatrixView& square, const float* inverse_sums) {
  for (size_t kept = first_kept_[static_cast<size_t>(prompt)]; kept < first_kept_[static_cast<size_t>(prompt) + 1];
       ++kept) {
    const int64_t column = statistics_.tokens[kept].second - first_key;
    if (column < 0 || column >= square.columns) continue;
    for (int64_t t = 0; t < square.rows; ++t)
      statistics_.columns[kept][static_cast<size_t>((first_query + t) * statistics_.heads + head)] =
          square.data[t * square.stride + column] * inverse_sums[t];
  }
}

void Attention::reduce(const AttentionShape& shape, std::span<const Chunk> chunks, SinkAccumulator& sinks) {
  const int64_t group = shape.heads / shape.kv_heads, n = sinks.offsets_.back();
  const int64_t prompts = static_cast<int64_t>(sinks.offsets_.size()) - 1;
  SinkStatistics& statistics = sinks.statistics_;
  for (size_t i = 0; i < chunks.size();) {
    // Chunks of one head of one prompt stand together.
    const Chunk& first = chunks[i];
    const int64_t length = first.length, early_keys = first.early_keys(shape);
    const size_t parts = static_cast<size_t>(first.step);
    for (int64_t h = 0; h < group; ++h) {
      const int64_t head = first.kv_head * group + h;
      float* total = statistics.column_sums.data() + head * n + sinks.offsets_[first.prompt];
      float* late_total = statistics.late_column_sums.data() + head * n + sinks.offsets_[first.prompt];
      for (int64_t key = 0; key < length; ++key) {
        double early = 0.0, late = 0.0;
        for (size_t part = 0; part < parts; ++part) {
          late += chunks[i + part].late[static_cast<size_t>(h * length + key)];
          if (key < early_keys) early += chunks[i + part].early[static_cast<size_t>(h * early_keys + key)];
        }
        total[key] = static_cast<float>(early + late);
        late_total[key] = static_cast<float>(late);
      }
      double entropy = 0.0;
      for (size_t part = 0; part < parts; ++part) entropy += chunks[i + part].entropy[static_cast<size_t>(h)];
      statistics.entropy[static_cast<size_t>(head * prompts + first.prompt)] =
          length > 1 ? static_cast<float>(entropy / static_cast<double>(length - 1)) : 0.0f;
    }
    i += parts;
  }
}

void Attention::keep_values(const AttentionShape& shape, const AttentionTensors& tensors,
                            std::span<const int64_t> offsets, int64_t first_prompt, int64_t last_prompt,
                            SinkAccumulator& sinks) {
  SinkStatistics& statistics = sinks.statistics_;
  const int64_t row_size = shape.kv_heads * shape.v_dim;
  for (size_t kept = sinks.first_kept_[static_cast<size_t>(first_prompt)];
       kept < sinks.first_kept_[static_cast<size_t>(last_prompt)]; ++kept) {
    const auto [prompt, token] = statistics.tokens[kept];
    const int64_t row = offsets[prompt] - offsets[first_prompt] + token;
    std::memcpy(statistics.values.data() + static_cast<int64_t>(kept) * row_size,
                tensors.v.data + row * tensors.v.stride, static_cast<size_t>(row_size) * sizeof(float));
  }
}

void Attention::with_squares(const AttentionShape& shape, const AttentionTensors& tensors,
                             std::span<const int64_t> offsets, int64_t first_prompt, int64_t last_prompt,
                             SinkAccumulator* sinks, const SquareHook& scores_hook, const SquareHook& pattern_hook) {
  pack(shape, tensors, {offsets, {}}, first_prompt, last_prompt);
  const int64_t group = shape.heads / shape.kv_heads, hd = shape.head_dim, vd = shape.v_dim;
  constexpr float kInvisible = -std::numeric_limits<float>::infinity();
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const int64_t length = offsets[prompt + 1] - offsets[prompt], row = offsets[prompt] - offsets[first_prompt];
    const size_t panels = static_cast<size_t>((prompt - first_prompt) * shape.kv_heads);
    Buffer squares(shape.heads * length * length);
    const SerialProducts serial;
    parallel_for(shape.heads, [&](int64_t head) {
      float* square = squares.data() + head * length * length;
      product({tensors.q.data + row * tensors.q.stride + head * hd, length, hd, tensors.q.stride},
              keys_[panels + static_cast<size_t>(head / group)], {square, length, length, length});
      for (int64_t t = 0; t < length; ++t) {
        const int64_t first = shape.first_key(t), last = shape.last_key(t, length);
        float* scores = square + t * length;
        finish_scores(shape, head, t, first, last - first, scores + first);
        std::fill(scores, scores + first, kInvisible);
        std::fill(scores + last, scores + length, kInvisible);
      }
    });
    if (scores_hook) scores_hook(prompt, squares.data(), length);
    parallel_for(shape.heads, [&](int64_t head) {
      for (int64_t t = 0; t < length; ++t) {
        const int64_t first = shape.first_key(t), last = shape.last_key(t, length);
        float* probabilities = squares.data() + (head * length + t) * length;
        std::fill(probabilities, probabilities + first, 0.0f);
        const SoftmaxRow softmax = softmax_row(probabilities + first, last - first, length - first, 1.0f);
        for (int64_t key = first; key < last; ++key) probabilities[key] *= softmax.inverse_sum;
      }
    });
    if (pattern_hook) pattern_hook(prompt, squares.data(), length);
    parallel_for(shape.heads, [&](int64_t head) {
      const float* square = squares.data() + head * length * length;
      product({square, length, length, length}, values_[panels + static_cast<size_t>(head / group)],
              {tensors.z.data + row * tensors.z.stride + head * vd, length, vd, tensors.z.stride});
      if (sinks) sinks->add_square(prompt, head, square, length);
    });
  }
  if (sinks) keep_values(shape, tensors, offsets, first_prompt, last_prompt, *sinks);
}

/// Reduces a finished pattern [T, T] of one head: the pattern may have been written by a hook, so nothing is assumed of
/// it.
void SinkAccumulator::add_square(int64_t prompt, int64_t head, const float* square, int64_t length) {
  const int64_t n = offsets_.back(), prompts = static_cast<int64_t>(offsets_.size()) - 1;
  std::vector<double> total(static_cast<size_t>(length)), late(static_cast<size_t>(length));
  double entropy = 0.0;
  for (int64_t t = 1; t < length; ++t) {
    const int64_t first = shape_.first_key(t), last = shape_.last_key(t, length);
    double row_entropy = 0.0;
    for (int64_t key = first; key < last; ++key) {
      const double p = square[t * length + key];
      total[static_cast<size_t>(key)] += p;
      if (t >= SinkStatistics::kLateQuery) late[static_cast<size_t>(key)] += p;
      if (p > 0.0) row_entropy -= p * std::log(p);
    }
    if (last - first >= 2) entropy += row_entropy / std::log(static_cast<double>(last - first));
  }
  std::copy(total.begin(), total.end(), statistics_.column_sums.begin() + head * n + offsets_[prompt]);
  std::copy(late.begin(), late.end(), statistics_.late_column_sums.begin() + head * n + offsets_[prompt]);
  statistics_.entropy[static_cast<size_t>(head * prompts + prompt)] =
      length > 1 ? static_cast<float>(entropy / static_cast<double>(length - 1)) : 0.0f;
  for (size_t kept = first_kept_[static_cast<size_t>(prompt)]; kept < first_kept_[static_cast<size_t>(prompt) + 1];
       ++kept)
    for (int64_t t = 0; t < length; ++t)
      statistics_.columns[kept][static_cast<size_t>(t * statistics_.heads + head)] =
          square[t * length + statistics_.tokens[kept].second];
}

}  // namespace spikescope
