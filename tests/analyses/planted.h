// A dump with planted spikes, so that every number of the analyses is known.
#pragma once

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "capture/dump.h"
#include "model/weights.h"

namespace spikescope::testing {

/// Two prompts of 20 tokens through 6 blocks, d = 32. Entries of ordinary tokens lie in 0.5 .. 1.5. Planted in
/// dimension 5:
///   prompt 0, token 0:  r_2 = 300, r_3 = r_4 = 1500 (born in blocks 1 and 2, gone with block 4)
///   prompt 1, tokens 0 and 7: the same with 320 and 1600
///   both, token 0:  r_6 = -4000 in dimension 9 (block 5), with dimension 11 = 3000
struct Planted {
  static constexpr int64_t kTokens = 20, kPrompts = 2, kBlocks = 6, kDims = 32, kHeads = 2, kHeadDim = 2, kWidth = 4;

  struct Spike {
    int64_t prompt, token, dim;
    std::vector<std::pair<int64_t, float>> values;  // state, value
  };
  std::vector<Spike> spikes = {
      {0, 0, 5, {{2, 300}, {3, 1500}, {4, 1500}}},
      {1, 0, 5, {{2, 320}, {3, 1600}, {4, 1600}}},
      {1, 7, 5, {{2, 320}, {3, 1600}, {4, 1600}}},
      {0, 0, 9, {{6, -4000}}},
      {1, 0, 9, {{6, -4000}}},
      {0, 0, 11, {{6, 3000}}},
      {1, 0, 11, {{6, 3000}}},
  };
  std::vector<int64_t> lengths = {kTokens, kTokens};
  /// Changes a state [N, d] before it is written.
  std::function<void(int64_t layer, std::vector<float>& state)> change = [](int64_t, std::vector<float>&) {};
  bool with_sinks = true, with_writers = true, with_attn_out = true, with_norms = true;
  /// Token ids; those of all prompts are the same unless a test changes them.
  std::function<int64_t(int64_t prompt, int64_t token)> id = [](int64_t, int64_t t) { return t == 7 ? 42 : 100 + t; };
  /// Entries of the dump's config besides the sizes.
  Json config = {{"norm_places", "before"}, {"causal", true}};

  int64_t rows() const {
    int64_t sum = 0;
    for (int64_t length : lengths) sum += length;
    return sum;
  }
  int64_t first_row(int64_t prompt) const {
    int64_t sum = 0;
    for (int64_t p = 0; p < prompt; ++p) sum += lengths[static_cast<size_t>(p)];
    return sum;
  }

  std::vector<float> state(int64_t layer) const {
    std::vector<float> values(static_cast<size_t>(rows() * kDims));
    for (int64_t row = 0; row < rows(); ++row) {
      for (int64_t dim = 0; dim < kDims; ++dim) {
        const double size = 0.5 + static_cast<double>((7 * row + 3 * dim + layer) % 101) / 101.0;
        values[static_cast<size_t>(row * kDims + dim)] = static_cast<float>((row + dim) % 2 ? size : -size);
      }
    }
    for (const Spike& spike : spikes) {
      for (const auto& [at, value] : spike.values) {
        if (at == layer)
          values[static_cast<size_t>((first_row(spike.prompt) + spike.token) * kDims + spike.dim)] = value;
      }
    }
    change(layer, values);
    return values;
  }

  /// RMSNorm with gain 1, what both norms of a block give.
  std::vector<float> normed(int64_t layer) const {
    std::vector<float> values = state(layer);
    for (size_t row = 0; row < values.size(); row += kDims) {
      double squares = 0.0;
      for (size_t dim = 0; dim < kDims; ++dim) squares += static_cast<double>(values[row + dim]) * values[row + dim];
      for (size_t dim = 0; dim < kDims; ++dim) values[row + dim] /= static_cast<float>(std::sqrt(squares / kDims));
    }
    return values;
  }

  std::vector<std::pair<int64_t, int64_t>> kept() const {
    std::vector<std::pair<int64_t, int64_t>> tokens;
    for (int64_t prompt = 0; prompt < static_cast<int64_t>(lengths.size()); ++prompt) {
      tokens.push_back({prompt, 0});
      if (prompt == 1 && lengths[1] > 7) tokens.push_back({prompt, 7});
    }
    return tokens;
  }

  /// Attention of both heads: a query t >= 1 gives 0.5 (head 0) or 0.1 (head 1) to token 0 and the rest to itself; in
  /// prompt 1 queries behind token 7 give 0.2 to it, taken from themselves. Block 5 gives 0.25 and 0.05 to token 0.
  static double to_first(int64_t block, int64_t head) { return (head == 0 ? 0.5 : 0.1) * (block == 5 ? 0.5 : 1.0); }

  SinkStatistics sinks(int64_t block) const {
    SinkStatistics sinks;
    sinks.heads = kHeads;
    sinks.kv_heads = 1;
    sinks.head_dim = kHeadDim;
    sinks.column_sums.resize(static_cast<size_t>(kHeads * rows()));
    sinks.late_column_sums = sinks.column_sums;
    sinks.tokens = kept();
    sinks.columns.resize(sinks.tokens.size());
    for (size_t k = 0; k < sinks.tokens.size(); ++k) {
      sinks.columns[k].resize(static_cast<size_t>(lengths[static_cast<size_t>(sinks.tokens[k].first)] * kHeads));
      for (int64_t i = 0; i < kHeadDim; ++i) sinks.values.push_back(static_cast<float>(i + 1));
    }
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t prompt = 0; prompt < static_cast<int64_t>(lengths.size()); ++prompt) {
        for (int64_t query = 0; query < lengths[static_cast<size_t>(prompt)]; ++query) {
          std::vector<double> row(static_cast<size_t>(query + 1), 0.0);
          if (query == 0) {
            row[0] = 1.0;
          } else {
            row[0] = to_first(block, head);
            if (prompt == 1 && query > 7) row[7] = 0.2;
            row.back() += 1.0 - row[0] - (prompt == 1 && query > 7 ? 0.2 : 0.0);
          }
          for (int64_t key = 0; key <= query; ++key) {
            const auto at = static_cast<size_t>(head * rows() + first_row(prompt) + key);
            if (query >= 1) sinks.column_sums[at] += static_cast<float>(row[static_cast<size_t>(key)]);
            if (query >= 16) sinks.late_column_sums[at] += static_cast<float>(row[static_cast<size_t>(key)]);
            for (size_t k = 0; k < sinks.tokens.size(); ++k) {
              if (sinks.tokens[k] != std::pair(prompt, key)) continue;
              sinks.columns[k][static_cast<size_t>(query * kHeads + head)] =
                  static_cast<float>(row[static_cast<size_t>(key)]);
            }
          }
        }
        sinks.entropy.push_back(
            static_cast<float>(0.2 + 0.1 * static_cast<double>(head) + 0.01 * static_cast<double>(prompt)));
      }
    }
    return sinks;
  }

  /// Updates of the spike dimensions; attention adds a tenth of what block 1 adds.
  WriterRows writers(int64_t block) const {
    WriterRows rows;
    rows.tokens = kept();
    rows.d_model = kDims;
    rows.width = kWidth;
    const std::vector<float> before = state(block), after = state(block + 1);
    for (const auto& [prompt, token] : rows.tokens) {
      for (int64_t dim = 0; dim < kDims; ++dim) {
        const auto at = static_cast<size_t>((first_row(prompt) + token) * kDims + dim);
        const float update = after[at] - before[at];
        const float attention = block == 1 ? 0.1f * update : 0.0f;
        rows.attention.push_back(attention);
        rows.mlp.push_back(update - attention);
      }
      for (int64_t j = 0; j < kWidth; ++j) rows.mlp_post.push_back(static_cast<float>(j));  // activations 0, 1, 2, 3
    }
    return rows;
  }

  void write(const std::filesystem::path& out) const {
    DumpInfo info;
    info.model = "/nowhere/planted";
    info.model_name = "planted";
    info.family = "llama";
    info.config = config;
    info.config["n_layers"] = kBlocks;
    info.config["d_model"] = kDims;
    info.command = "test";
    info.version = "0";
    info.bos = "none";
    DumpTokens tokens;
    tokens.offsets = {0};
    for (size_t prompt = 0; prompt < lengths.size(); ++prompt) {
      for (int64_t t = 0; t < lengths[prompt]; ++t) {
        tokens.ids.push_back(id(static_cast<int64_t>(prompt), t));
        tokens.strings.push_back(t == 7 ? "Ġthe" : "w" + std::to_string(t));
      }
      tokens.offsets.push_back(tokens.size());
      tokens.prompts.push_back({{"source", "test"}});
    }
    DumpWriter writer(out, info, tokens, {});
    const auto put = [&](const HookPoint& point, const std::vector<float>& values) {
      writer.declare(point, {kDims});
      writer.write(point, 0, values.data(), rows(), kDims, kDims);
    };
    for (int block = 0; block < kBlocks; ++block) {
      if (block == 0) put({Point::resid_pre, 0}, state(0));
      if (with_norms) {
        put({Point::ln1_out, block}, normed(block));
        put({Point::ln2_out, block}, normed(block));
      }
      if (with_attn_out) put({Point::attn_out, block}, std::vector<float>(static_cast<size_t>(rows() * kDims), 1.0f));
      put({Point::resid_post, block}, state(block + 1));
      if (with_sinks) writer.write_sinks(block, sinks(block));
      if (with_writers) writer.write_writers(block, writers(block));
      writer.finish_block(block);
    }
    writer.finish("0000");
  }
};

/// Weights in memory: W_O [32, 4] is 1 in dimension 0 for all inputs; row 5 and 9 of W_down [32, 4] are (7, 3, 0, 1);
/// W_Q, W_K and W_V hold sines of different frequencies; norms have a gain of 1; all else is 0.
class PlantedWeights {
 public:
  PlantedWeights() {
    architecture_.family = "llama";
    architecture_.n_layers = Planted::kBlocks;
    architecture_.d_model = Planted::kDims;
    architecture_.n_heads = Planted::kHeads;
    architecture_.n_kv_heads = 1;
    architecture_.head_dim = Planted::kHeadDim;
    architecture_.mlp_width = Planted::kWidth;
    architecture_.vocabulary = 2;
    architecture_.attention_scale = 0.5;
    architecture_.norm_eps = 0.0;
    architecture_.blocks.resize(Planted::kBlocks);
    for (const Role role : all_roles()) {
      const auto [rows, columns] = role_shape(architecture_, role);
      std::vector<float>& values = values_[role];
      values.assign(static_cast<size_t>(rows * columns), 0.0f);
      if (role == Role::w_o) std::fill_n(values.begin(), columns, 1.0f);
      if (role == Role::w_q || role == Role::w_k || role == Role::w_v)
        for (size_t i = 0; i < values.size(); ++i)
          values[i] = std::sin((1.3f + 0.2f * static_cast<float>(role)) * static_cast<float>(i));
      if (role == Role::ln1 || role == Role::ln2) std::fill(values.begin(), values.end(), 1.0f);
      if (role == Role::w_down)
        for (const size_t dim : {5, 9}) {
          const float row[] = {7, 3, 0, 1};
          std::copy_n(row, 4, values.begin() + static_cast<std::ptrdiff_t>(dim * Planted::kWidth));
        }
      TensorInfo tensor{std::string(role_name(role)),
                        {rows},
                        find_safetensors_format("F32"),
                        std::as_bytes(std::span(values)),
                        "memory"};
      if (columns > 1) tensor.shape.push_back(columns);
      tensors_.add(tensor);
    }
    weights_ = std::make_unique<ModelWeights>(
        tensors_, architecture_, [](const WeightKey& key) { return WeightPlace{std::string(role_name(key.role))}; });
  }
  const ModelWeights& get() const { return *weights_; }
  /// For changes that leave the weights' shapes as they are.
  Architecture& architecture() { return architecture_; }

 private:
  std::map<Role, std::vector<float>> values_;
  TensorTable tensors_;
  Architecture architecture_;
  std::unique_ptr<ModelWeights> weights_;
};

}  // namespace spikescope::testing
