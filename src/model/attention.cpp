#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "model/softmax.h"

namespace spikescope {
namespace {

/// Rows of scores made at a time: enough for an efficient product, few enough that a block's scores stay in cache and
/// that little is computed beyond the causal diagonal.
constexpr int64_t kRows = 192;

int64_t queries_per_block(int64_t heads_per_group) { return std::clamp<int64_t>(kRows / heads_per_group, 16, 128); }

double relative_entropy(double entropy, int64_t query) { return entropy / std::log(static_cast<double>(query + 1)); }

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
  std::vector<double> early, late;  ///< [heads of the group, T]: sums over queries 1 .. 15, and from 16 on
  std::vector<double> entropy;      ///< [heads of the group]
};

void CausalAttention::operator()(const AttentionTensors& tensors, std::span<const int64_t> offsets,
                                 int64_t first_prompt, int64_t last_prompt, SinkAccumulator* sinks) const {
  const int64_t block = queries_per_block(shape_.heads / shape_.kv_heads);
  const int64_t pairs = (last_prompt - first_prompt) * shape_.kv_heads;
  std::vector<Chunk> chunks;
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const int64_t length = offsets[prompt + 1] - offsets[prompt];
    const int64_t blocks = (length + block - 1) / block;
    const int64_t split = std::clamp<int64_t>(4 * threads() / std::max<int64_t>(pairs, 1), 1, blocks);
    for (int64_t kv_head = 0; kv_head < shape_.kv_heads; ++kv_head)
      for (int64_t part = 0; part < split; ++part) {
        Chunk chunk;
        chunk.prompt = prompt;
        chunk.kv_head = kv_head;
        chunk.first_block = part;
        chunk.step = split;
        chunk.row = offsets[prompt] - offsets[first_prompt];
        chunk.length = length;
        chunks.push_back(std::move(chunk));
      }
  }

  std::exception_ptr failure;
  {
    const SerialProducts serial;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < chunks.size(); ++i) {
      try {
        run_chunk(tensors, chunks[i], sinks);
      } catch (...) {
#pragma omp critical
        failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
  if (sinks) {
    reduce(chunks, *sinks);
    keep_values(tensors, offsets, first_prompt, last_prompt, *sinks);
  }
}

void CausalAttention::run_chunk(const AttentionTensors& tensors, Chunk& chunk, SinkAccumulator* sinks) const {
  const int64_t group = shape_.heads / shape_.kv_heads, hd = shape_.head_dim;
  const int64_t block = queries_per_block(group), length = chunk.length, first_head = chunk.kv_head * group;
  const float scale = static_cast<float>(shape_.scale);
  if (sinks) {
    chunk.early.assign(static_cast<size_t>(group * std::min(length, SinkStatistics::kLateQuery)), 0.0);
    chunk.late.assign(static_cast<size_t>(group * length), 0.0);
    chunk.entropy.assign(static_cast<size_t>(group), 0.0);
  }
  std::vector<float> queries(static_cast<size_t>(group * block * hd)), out(queries.size());
  std::vector<float> scores(static_cast<size_t>(group * block * length));
  std::vector<float> early(static_cast<size_t>(SinkStatistics::kLateQuery)), late(static_cast<size_t>(length)),
      inverse(static_cast<size_t>(group * block));

  for (int64_t begin = chunk.first_block * block; begin < length; begin += chunk.step * block) {
    const int64_t end = std::min(begin + block, length), count = end - begin, rows = group * count;
    // The heads of the group share their keys: stacked, they make one product, head by head in the rows.
    for (int64_t h = 0; h < group; ++h)
      for (int64_t t = 0; t < count; ++t) {
        const float* from = tensors.q.data + (chunk.row + begin + t) * tensors.q.stride + (first_head + h) * hd;
        float* to = queries.data() + (h * count + t) * hd;
        for (int64_t i = 0; i < hd; ++i) to[i] = from[i] * scale;
      }
    const MatrixView square{scores.data(), rows, end, end};
    const ConstMatrixView keys(tensors.k.data + chunk.row * tensors.k.stride + chunk.kv_head * hd, end, hd,
                               tensors.k.stride);
    const ConstMatrixView values(tensors.v.data + chunk.row * tensors.v.stride + chunk.kv_head * hd, end, hd,
                                 tensors.v.stride);
    multiply_transposed({queries.data(), rows, hd, hd}, keys, square);

    for (int64_t h = 0; h < group; ++h) {
      if (sinks) {
        std::fill(early.begin(), early.end(), 0.0f);
        std::fill(late.begin(), late.begin() + end, 0.0f);
      }
      for (int64_t t = 0; t < count; ++t) {
        const int64_t query = begin + t, row = h * count + t;
        float* values_of_row = scores.data() + row * end;
        const SoftmaxRow softmax = softmax_row(values_of_row, query + 1, end);
        inverse[static_cast<size_t>(row)] = softmax.inverse_sum;
        if (!sinks) continue;
        if (query >= 1) {
          const bool is_late = query >= SinkStatistics::kLateQuery;
          add_scaled(values_of_row, softmax.inverse_sum, query + 1, is_late ? late.data() : early.data());
          chunk.entropy[static_cast<size_t>(h)] += relative_entropy(softmax.entropy, query);
        }
        SinkStatistics& statistics = sinks->statistics_;
        for (size_t kept = sinks->first_kept_[static_cast<size_t>(chunk.prompt)];
             kept < sinks->first_kept_[static_cast<size_t>(chunk.prompt) + 1]; ++kept) {
          const int64_t key = statistics.tokens[kept].second;
          if (key <= query)
            statistics.columns[kept][static_cast<size_t>(query * shape_.heads + first_head + h)] =
                values_of_row[key] * softmax.inverse_sum;
        }
      }
      if (!sinks) continue;
      const int64_t early_keys = std::min(length, SinkStatistics::kLateQuery);
      if (begin < SinkStatistics::kLateQuery)
        for (int64_t key = 0; key < early_keys; ++key)
          chunk.early[static_cast<size_t>(h * early_keys + key)] += early[static_cast<size_t>(key)];
      for (int64_t key = 0; key < end; ++key)
        chunk.late[static_cast<size_t>(h * length + key)] += late[static_cast<size_t>(key)];
    }

    multiply(square, values, {out.data(), rows, hd, hd});
    for (int64_t h = 0; h < group; ++h)
      for (int64_t t = 0; t < count; ++t) {
        const float* from = out.data() + (h * count + t) * hd;
        const float factor = inverse[static_cast<size_t>(h * count + t)];
        float* to = tensors.z.data + (chunk.row + begin + t) * tensors.z.stride + (first_head + h) * hd;
        for (int64_t i = 0; i < hd; ++i) to[i] = from[i] * factor;
      }
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
                                   const SquareHook& scores_hook, const SquareHook& pattern_hook) const {
  const int64_t group = shape_.heads / shape_.kv_heads, hd = shape_.head_dim;
  for (int64_t prompt = first_prompt; prompt < last_prompt; ++prompt) {
    const int64_t length = offsets[prompt + 1] - offsets[prompt], row = offsets[prompt] - offsets[first_prompt];
    std::vector<float> squares(static_cast<size_t>(shape_.heads * length * length));
    std::vector<float> queries(static_cast<size_t>(length * hd));
    for (int64_t head = 0; head < shape_.heads; ++head) {
      float* square = squares.data() + head * length * length;
      for (int64_t t = 0; t < length; ++t)
        for (int64_t i = 0; i < hd; ++i)
          queries[static_cast<size_t>(t * hd + i)] =
              tensors.q.data[(row + t) * tensors.q.stride + head * hd + i] * static_cast<float>(shape_.scale);
      const ConstMatrixView keys(tensors.k.data + row * tensors.k.stride + head / group * hd, length, hd,
                                 tensors.k.stride);
      multiply_transposed({queries.data(), length, hd, hd}, keys, {square, length, length, length});
      for (int64_t t = 0; t < length; ++t)
        std::fill(square + t * length + t + 1, square + (t + 1) * length, -std::numeric_limits<float>::infinity());
    }
    if (scores_hook) scores_hook(prompt, squares.data(), length);

    for (int64_t head = 0; head < shape_.heads; ++head)
      for (int64_t t = 0; t < length; ++t) {
        float* values = squares.data() + (head * length + t) * length;
        const SoftmaxRow softmax = softmax_row(values, t + 1, length);
        for (int64_t key = 0; key <= t; ++key) values[key] *= softmax.inverse_sum;
      }
    if (pattern_hook) pattern_hook(prompt, squares.data(), length);

    for (int64_t head = 0; head < shape_.heads; ++head) {
      float* square = squares.data() + head * length * length;
      const ConstMatrixView values(tensors.v.data + row * tensors.v.stride + head / group * hd, length, hd,
                                   tensors.v.stride);
      multiply({square, length, length, length}, values,
               {tensors.z.data + row * tensors.z.stride + head * hd, length, hd, tensors.z.stride});
      if (sinks) sinks->add_square(shape_, prompt, head, square, length);
    }
  }
  if (sinks) keep_values(tensors, offsets, first_prompt, last_prompt, *sinks);
}

/// Reduces a finished pattern [T, T] of one head: the pattern may have been written by a hook, so nothing is assumed of
/// it.
void SinkAccumulator::add_square(const AttentionShape& shape, int64_t prompt, int64_t head, const float* square,
                                 int64_t length) {
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
      statistics_.columns[kept][static_cast<size_t>(t * shape.heads + head)] =
          square[t * length + statistics_.tokens[kept].second];
}

}  // namespace spikescope
