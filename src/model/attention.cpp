#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/parallel.h"
#include "base/profile.h"
#include "model/softmax.h"

namespace spikescope {
namespace {

/// Queries whose scores are made at a time. Few, so that the scores stay in the second-level cache and little is
/// computed beyond the diagonal; with many keys more, so that the keys are fetched from further away less often.
int64_t queries_per_block(int64_t length) { return length <= 1024 ? 14 : length <= 4096 ? 28 : 56; }

/// Query blocks of a head that share their sums. The split must not depend on the number of threads: sums are added up
/// in the same order on every machine.
constexpr int64_t kQueriesPerChunk = 512;

/// Queries whose probabilities are added up in float32 before they go to the sums in double.
constexpr int64_t kQueriesPerFlush = 128;

double relative_entropy(double entropy, int64_t query) { return entropy / std::log(static_cast<double>(query + 1)); }

/// Rows that are read soon: they lie far apart, where the processor does not look ahead by itself.
void prefetch_rows(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  constexpr int64_t kLine = 16;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; i += kLine) __builtin_prefetch(data + row * stride + i);
}

}  // namespace

SinkAccumulator::SinkAccumulator(const AttentionShape& shape, std::span<const int64_t> offsets,
                                 std::vector<TokenPosition> tokens)
    : offsets_(offsets) {
  const size_t prompts = offsets.size() - 1;
  const size_t n = static_cast<size_t>(offsets.back());
  statistics_.heads = shape.heads;
  statistics_.kv_heads = shape.kv_heads;
  statistics_.head_dim = shape.head_dim;
  statistics_.column_sums.assign(static_cast<size_t>(shape.heads) * n, 0.0f);
  statistics_.late_column_sums.assign(static_cast<size_t>(shape.heads) * n, 0.0f);
  statistics_.entropy.assign(static_cast<size_t>(shape.heads) * prompts, 0.0f);
  statistics_.values.assign(tokens.size() * static_cast<size_t>(shape.kv_heads * shape.head_dim), 0.0f);
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
struct CausalAttention::Chunk {
  int64_t prompt = 0, kv_head = 0, first_block = 0, step = 1;
  int64_t row = 0;                  ///< first row of the prompt in the tensors
  int64_t length = 0;               ///< tokens of the prompt
  int64_t panels = 0;               ///< index of its keys and values
  std::vector<double> early, late;  ///< [heads of the group, T]: sums over queries 1 .. 15, and from 16 on
  std::vector<double> entropy;      ///< [heads of the group]
};

void CausalAttention::pack(const AttentionTensors& tensors, std::span<const int64_t> offsets, int64_t first_prompt,
                           int64_t last_prompt) {
  const size_t count = static_cast<size_t>((last_prompt - first_prompt) * shape_.kv_heads);
  if (keys_.size() < count) keys_.resize(count), values_.resize(count);
  parallel_for(static_cast<int64_t>(count), [&](int64_t i) {
    const Span span("keys, values");
    const int64_t prompt = first_prompt + i / shape_.kv_heads, column = i % shape_.kv_heads * shape_.head_dim;
    const int64_t row = offsets[prompt] - offsets[first_prompt], length = offsets[prompt + 1] - offsets[prompt];
    const auto rows_of = [&](const MatrixView& m) {
      return ConstMatrixView(m.data + row * m.stride + column, length, shape_.head_dim, m.stride);
    };
    keys_[static_cast<size_t>(i)].reset(shape_.head_dim, length);
    keys_[static_cast<size_t>(i)].set_columns(0, rows_of(tensors.k));
    values_[static_cast<size_t>(i)].reset(length, shape_.head_dim);
    values_[static_cast<size_t>(i)].set_rows(rows_of(tensors.v));
  });
}

void CausalAttention::operator()(const AttentionTensors& tensors, std::span<const int64_t> offsets,
                                 int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks) {
  pack(tensors, offsets, first_prompt, last_prompt);
  std::vector<Chunk> chunks;
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const int64_t length = offsets[prompt + 1] - offsets[prompt];
    const int64_t parts = (length + kQueriesPerChunk - 1) / kQueriesPerChunk;
    for (int64_t kv_head = 0; kv_head < shape_.kv_heads; ++kv_head)
      for (int64_t part = 0; part < parts; ++part) {
        Chunk chunk;
        chunk.prompt = prompt;
        chunk.kv_head = kv_head;
        chunk.first_block = part;
        chunk.step = parts;
        chunk.row = offsets[prompt] - offsets[first_prompt];
        chunk.length = length;
        chunk.panels = (prompt - first_prompt) * shape_.kv_heads + kv_head;
        chunks.push_back(std::move(chunk));
      }
  }
  {
    const SerialProducts serial;
    parallel_for(static_cast<int64_t>(chunks.size()),
                 [&](int64_t i) { run_chunk(tensors, chunks[static_cast<size_t>(i)], sinks); });
  }
  if (sinks) {
    const Span span("sinks");
    reduce(chunks, *sinks);
    keep_values(tensors, offsets, first_prompt, last_prompt, *sinks);
  }
}

void CausalAttention::run_chunk(const AttentionTensors& tensors, Chunk& chunk, SinkAccumulator* sinks) const {
  const int64_t group = shape_.heads / shape_.kv_heads, hd = shape_.head_dim;
  const int64_t length = chunk.length, block = queries_per_block(length), first_head = chunk.kv_head * group;
  const int64_t early_keys = std::min(length, SinkStatistics::kLateQuery);
  const double pairs = static_cast<double>(length) * static_cast<double>(length + 1) / 2.0;
  const Span span("attention", -1, 4.0 * pairs * static_cast<double>(group * hd) / static_cast<double>(chunk.step));
  const Panels& keys = keys_[static_cast<size_t>(chunk.panels)];
  const Panels& values = values_[static_cast<size_t>(chunk.panels)];
  thread_local Buffer scores, late_sums;
  thread_local std::vector<float> inverse;
  thread_local std::vector<double> most_entropy;  // of a query: log(keys it sees)
  // Rows of scores as the product with the values takes them, or else no wider than they have to be.
  const int64_t whole = keys.whole_columns(length), stride = left_stride(whole);
  const auto stride_of = [&](int64_t width) { return stride == whole ? width : stride; };
  scores.resize(block * stride);
  inverse.resize(static_cast<size_t>(block));
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

  for (int64_t begin = chunk.first_block * block; begin < length; begin += chunk.step * block) {
    const int64_t end = std::min(begin + block, length), count = end - begin;
    const int64_t width = keys.whole_columns(end), row = stride_of(width);
    if (const int64_t next = begin + chunk.step * block; next < length)
      prefetch_rows(tensors.q.data + (chunk.row + next) * tensors.q.stride + first_head * hd,
                    std::min(block, length - next), group * hd, tensors.q.stride);
    for (int64_t t = 0; t < count; ++t)
      most_entropy[static_cast<size_t>(t)] = std::log(static_cast<double>(begin + t + 1));
    for (int64_t h = 0; h < group; ++h) {
      const int64_t head = first_head + h;
      const ConstMatrixView queries(tensors.q.data + (chunk.row + begin) * tensors.q.stride + head * hd, count, hd,
                                    tensors.q.stride);
      const MatrixView square{scores.data(), count, width, row};
      const MatrixView z{tensors.z.data + (chunk.row + begin) * tensors.z.stride + head * hd, count, hd,
                         tensors.z.stride};
      product(queries, keys, square);
      for (int64_t t = 0; t < count; ++t) {
        const int64_t query = begin + t;
        const SoftmaxRow softmax =
            softmax_row(scores.data() + t * row, query + 1, width, static_cast<float>(shape_.scale));
        inverse[static_cast<size_t>(t)] = softmax.inverse_sum;
        if (sinks && query >= 1)
          chunk.entropy[static_cast<size_t>(h)] += softmax.entropy / most_entropy[static_cast<size_t>(t)];
      }
      product({scores.data(), count, end, row}, values, z);
      for (int64_t t = 0; t < count; ++t)
        for (int64_t i = 0; i < hd; ++i) z.data[t * z.stride + i] *= inverse[static_cast<size_t>(t)];
      if (!sinks) continue;
      // Queries 1 .. 15 go to one sum, those from 16 on to another; query 0 to none.
      for (int64_t query = std::max<int64_t>(begin, 1); query < std::min(end, early_keys); ++query)
        for (int64_t key = 0; key <= query; ++key)
          chunk.early[static_cast<size_t>(h * early_keys + key)] +=
              scores[(query - begin) * row + key] * inverse[static_cast<size_t>(query - begin)];
      const int64_t first_late = std::max(begin, SinkStatistics::kLateQuery) - begin;
      if (first_late < count)
        add_scaled_rows(scores.data() + first_late * row, row, inverse.data() + first_late, count - first_late, end,
                        late_sums.data() + h * length);
      sinks->keep_columns(chunk.prompt, head, begin, square, inverse.data());
    }
    waiting += count;
    if (sinks && waiting >= kQueriesPerFlush) flush();
  }
  if (sinks) flush();
}

void SinkAccumulator::keep_columns(int64_t prompt, int64_t head, int64_t begin, const MatrixView& square,
                                   const float* inverse_sums) {
  for (size_t kept = first_kept_[static_cast<size_t>(prompt)]; kept < first_kept_[static_cast<size_t>(prompt) + 1];
       ++kept) {
    const int64_t key = statistics_.tokens[kept].second;
    for (int64_t t = std::max<int64_t>(key - begin, 0); t < square.rows; ++t)
      statistics_.columns[kept][static_cast<size_t>((begin + t) * statistics_.heads + head)] =
          square.data[t * square.stride + key] * inverse_sums[t];
  }
}

void CausalAttention::reduce(std::span<const Chunk> chunks, SinkAccumulator& sinks) const {
  const int64_t group = shape_.heads / shape_.kv_heads, n = sinks.offsets_.back();
  const int64_t prompts = static_cast<int64_t>(sinks.offsets_.size()) - 1;
  SinkStatistics& statistics = sinks.statistics_;
  for (size_t i = 0; i < chunks.size();) {
    // Chunks of one head of one prompt stand together.
    const Chunk& first = chunks[i];
    const int64_t length = first.length, early_keys = std::min(length, SinkStatistics::kLateQuery);
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

void CausalAttention::keep_values(const AttentionTensors& tensors, std::span<const int64_t> offsets,
                                  int64_t first_prompt, int64_t last_prompt, SinkAccumulator& sinks) const {
  SinkStatistics& statistics = sinks.statistics_;
  const int64_t row_size = shape_.kv_heads * shape_.head_dim;
  for (size_t kept = sinks.first_kept_[static_cast<size_t>(first_prompt)];
       kept < sinks.first_kept_[static_cast<size_t>(last_prompt)]; ++kept) {
    const auto [prompt, token] = statistics.tokens[kept];
    const int64_t row = offsets[prompt] - offsets[first_prompt] + token;
    std::memcpy(statistics.values.data() + static_cast<int64_t>(kept) * row_size,
                tensors.v.data + row * tensors.v.stride, static_cast<size_t>(row_size) * sizeof(float));
  }
}

void CausalAttention::with_squares(const AttentionTensors& tensors, std::span<const int64_t> offsets,
                                   int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks,
                                   const SquareHook& scores_hook, const SquareHook& pattern_hook) {
  pack(tensors, offsets, first_prompt, last_prompt);
  const int64_t group = shape_.heads / shape_.kv_heads, hd = shape_.head_dim;
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const int64_t length = offsets[prompt + 1] - offsets[prompt], row = offsets[prompt] - offsets[first_prompt];
    const size_t panels = static_cast<size_t>((prompt - first_prompt) * shape_.kv_heads);
    Buffer squares(shape_.heads * length * length);
    const SerialProducts serial;
    parallel_for(shape_.heads, [&](int64_t head) {
      float* square = squares.data() + head * length * length;
      product({tensors.q.data + row * tensors.q.stride + head * hd, length, hd, tensors.q.stride},
              keys_[panels + static_cast<size_t>(head / group)], {square, length, length, length});
      for (int64_t t = 0; t < length; ++t) {
        for (int64_t key = 0; key <= t; ++key) square[t * length + key] *= static_cast<float>(shape_.scale);
        std::fill(square + t * length + t + 1, square + (t + 1) * length, -std::numeric_limits<float>::infinity());
      }
    });
    if (scores_hook) scores_hook(prompt, squares.data(), length);
    parallel_for(shape_.heads, [&](int64_t head) {
      for (int64_t t = 0; t < length; ++t) {
        float* probabilities = squares.data() + (head * length + t) * length;
        const SoftmaxRow softmax = softmax_row(probabilities, t + 1, length, 1.0f);
        for (int64_t key = 0; key <= t; ++key) probabilities[key] *= softmax.inverse_sum;
      }
    });
    if (pattern_hook) pattern_hook(prompt, squares.data(), length);
    parallel_for(shape_.heads, [&](int64_t head) {
      const float* square = squares.data() + head * length * length;
      product({square, length, length, length}, values_[panels + static_cast<size_t>(head / group)],
              {tensors.z.data + row * tensors.z.stride + head * hd, length, hd, tensors.z.stride});
      if (sinks) sinks->add_square(prompt, head, square, length);
    });
  }
  if (sinks) keep_values(tensors, offsets, first_prompt, last_prompt, *sinks);
}

/// Reduces a finished pattern [T, T] of one head: the pattern may have been written by a hook, so nothing is assumed of
/// it.
void SinkAccumulator::add_square(int64_t prompt, int64_t head, const float* square, int64_t length) {
  const int64_t n = offsets_.back(), prompts = static_cast<int64_t>(offsets_.size()) - 1;
  std::vector<double> total(static_cast<size_t>(length)), late(static_cast<size_t>(length));
  double entropy = 0.0;
  for (int64_t t = 1; t < length; ++t) {
    double row_entropy = 0.0;
    for (int64_t key = 0; key <= t; ++key) {
      const double p = square[t * length + key];
      total[static_cast<size_t>(key)] += p;
      if (t >= SinkStatistics::kLateQuery) late[static_cast<size_t>(key)] += p;
      if (p > 0.0) row_entropy -= p * std::log(p);
    }
    entropy += relative_entropy(row_entropy, t);
  }
  std::copy(total.begin(), total.end(), statistics_.column_sums.begin() + head * n + offsets_[prompt]);
  std::copy(late.begin(), late.end(), statistics_.late_column_sums.begin() + head * n + offsets_[prompt]);
  statistics_.entropy[static_cast<size_t>(head * prompts + prompt)] =
      length > 1 ? static_cast<float>(entropy / static_cast<double>(length - 1)) : 0.0f;
  for (size_t kept = first_kept_[static_cast<size_t>(prompt)]; kept < first_kept_[static_cast<size_t>(prompt) + 1];
       ++kept)
    for (int64_t t = statistics_.tokens[kept].second; t < length; ++t)
      statistics_.columns[kept][static_cast<size_t>(t * statistics_.heads + head)] =
          square[t * length + statistics_.tokens[kept].second];
}

}  // namespace spikescope
