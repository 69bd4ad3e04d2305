#include "analyses/sinks/block_sinks.h"

#include <mutex>
#include <optional>
#include <utility>

#include "analyses/parallel.h"
#include "analyses/sinks/bias.h"
#include "base/fail.h"
#include "stats/jackknife.h"

namespace spikescope {
namespace {

bool fits(const SinkStatistics& sinks, const DumpTokens& tokens) {
  if (sinks.heads <= 0 || sinks.kv_heads <= 0 || sinks.heads % sinks.kv_heads != 0 || sinks.head_dim <= 0) return false;
  const auto heads = static_cast<size_t>(sinks.heads), rows = static_cast<size_t>(tokens.size());
  const size_t kept = sinks.tokens.size();
  if (sinks.column_sums.size() != heads * rows || sinks.late_column_sums.size() != heads * rows ||
      sinks.entropy.size() != heads * static_cast<size_t>(tokens.n_prompts()) || sinks.columns.size() != kept ||
      sinks.values.size() != kept * static_cast<size_t>(sinks.kv_heads * sinks.head_dim)) {
    return false;
  }
  for (size_t k = 0; k < kept; ++k) {
    const auto& [prompt, token] = sinks.tokens[k];
    if (prompt < 0 || prompt >= tokens.n_prompts() || token < 0 || token >= tokens.length(prompt) ||
        sinks.columns[k].size() != heads * static_cast<size_t>(tokens.length(prompt))) {
      return false;
    }
  }
  return true;
}

/// Attention on the tokens of a prompt, summed over heads; `sums` [heads, N].
double attention_on(const std::vector<int64_t>& chosen, const std::vector<float>& sums, int64_t heads, int64_t rows,
                    int64_t first_row) {
  double sum = 0.0;
  for (int64_t token : chosen) {
    for (int64_t head = 0; head < heads; ++head) sum += sums[static_cast<size_t>(head * rows + first_row + token)];
  }
  return sum;
}

void measure_attention(const DumpTokens& tokens, const SinkStatistics& sinks, const std::vector<SpikeSet>& sets,
                       int64_t first_query, BlockSinks& result) {
  const int64_t rows = tokens.size(), prompts = tokens.n_prompts(), heads = sinks.heads;
  result.alpha.resize(static_cast<size_t>(heads));
  result.entropy.resize(static_cast<size_t>(heads));
  result.received.assign(static_cast<size_t>(rows), 0.0f);
  const std::vector<float>& sums =
      first_query == SinkStatistics::kLateQuery ? sinks.late_column_sums : sinks.column_sums;
  for (int64_t prompt = 0; prompt < prompts; ++prompt) {
    const int64_t first = tokens.offsets[static_cast<size_t>(prompt)], length = tokens.length(prompt);
    if (length < 2) continue;  // query 0 sees itself only
    std::vector<double>& alpha = result.window_alpha.emplace_back();
    Moments entropy;
    for (int64_t head = 0; head < heads; ++head) {
      const float* received = sinks.column_sums.data() + head * rows + first;
      alpha.push_back(received[0] / static_cast<double>(length - 1));
      result.alpha[static_cast<size_t>(head)].add(alpha.back());
      entropy.add(sinks.entropy[static_cast<size_t>(head * prompts + prompt)]);
      result.entropy[static_cast<size_t>(head)].add(sinks.entropy[static_cast<size_t>(head * prompts + prompt)]);
      for (int64_t token = 0; token < length; ++token) {
        result.received[static_cast<size_t>(first + token)] +=
            received[token] / static_cast<float>((length - 1) * heads);
      }
    }
    result.mean_entropy.add(entropy.mean());
    if (length <= first_query) continue;
    const SpikeSet& set = sets[static_cast<size_t>(prompt)];
    const auto queries = static_cast<double>((length - first_query) * heads);
    result.window_mass.push_back(attention_on(set.tokens, sums, heads, rows, first) / queries);
    result.mass.add(result.window_mass.back());
    result.latest_mass.add(attention_on(set.latest, sums, heads, rows, first) / queries);
  }
}

void measure_bias(const DumpReader& dump, const SinkStatistics& sinks, const Weight& w_o,
                  const std::vector<SpikeSet>& sets, int64_t block, int64_t first_query, BlockSinks& result) {
  const DumpTokens& tokens = dump.tokens();
  const int64_t prompts = tokens.n_prompts();
  std::vector<std::optional<PromptBias>> biases(static_cast<size_t>(prompts));
  for_each_prompt(prompts, [&](int64_t prompt) {
    const auto index = static_cast<size_t>(prompt);
    biases[index].emplace(sinks, w_o, sets[index].tokens, prompt);
  });
  // The sum of B over all queries has the direction of its mean, and follows from the columns' sums alone.
  std::vector<double> sum(static_cast<size_t>(w_o.rows));
  for (const auto& bias : biases) bias->add_sum(sum, first_query);

  std::vector<BiasShare> shares(static_cast<size_t>(prompts));
  std::mutex reading;
  for_each_prompt(prompts, [&](int64_t prompt) {
    const auto index = static_cast<size_t>(prompt);
    std::vector<float> attn_out;
    {
      const std::lock_guard lock(reading);
      attn_out = dump.read({Point::attn_out, static_cast<int>(block)}, tokens.offsets[index], tokens.length(prompt));
    }
    shares[index] = biases[index]->share(attn_out, sum, first_query);
  });
  for (int64_t prompt = 0; prompt < prompts; ++prompt) {
    const BiasShare& share = shares[static_cast<size_t>(prompt)];
    if (share.ratio_queries > 0) result.bias_ratio.add(share.ratio / static_cast<double>(share.ratio_queries));
    result.cosine_sums.push_back(share.cosine);
    result.biased_queries.push_back(static_cast<double>(share.biased_queries));
    result.queries.push_back(static_cast<double>(std::max<int64_t>(0, tokens.length(prompt) - first_query)));
  }
}

}  // namespace

SinkRate sink_rate(std::span<const WindowAlpha> blocks) {
  const size_t windows = blocks.empty() ? 0 : blocks[0].size();
  std::vector<std::vector<double>> sums;  // [blocks][heads], over windows
  for (const WindowAlpha& block : blocks) {
    sums.emplace_back(windows > 0 ? block[0].size() : 0);
    for (const auto& heads : block)
      for (size_t head = 0; head < heads.size(); ++head) sums.back()[head] += heads[head];
  }
  const auto without = [&](std::optional<size_t> left_out) {
    const auto count = static_cast<double>(windows - (left_out ? 1 : 0));
    Moments rate, alpha;
    for (size_t block = 0; block < sums.size() && count > 0; ++block) {
      for (size_t head = 0; head < sums[block].size(); ++head) {
        const double mean = (sums[block][head] - (left_out ? blocks[block][*left_out][head] : 0.0)) / count;
        rate.add(mean > kSinkAlpha ? 1.0 : 0.0);
        alpha.add(mean);
      }
    }
    return std::pair(rate.mean(), alpha.mean());
  };
  std::vector<double> rates, alphas;
  for (size_t window = 0; window < windows; ++window) {
    const auto [rate, alpha] = without(window);
    rates.push_back(rate);
    alphas.push_back(alpha);
  }
  const auto [rate, alpha] = without(std::nullopt);
  return {{rate, jackknife_error(rates)}, {alpha, jackknife_error(alphas)}};
}

BlockSinks measure_block(const DumpReader& dump, const SinkStatistics& sinks, const Weight& w_o,
                         const std::vector<SpikeSet>& sets, int64_t block, int64_t first_query) {
  if (!fits(sinks, dump.tokens())) {
    fail("{}: sink statistics of block {} do not fit {} heads ({} KV heads) and {} tokens: capture again",
         (dump.out() / "dump").string(), block, sinks.heads, sinks.kv_heads, dump.tokens().size());
  }
  BlockSinks result;
  measure_attention(dump.tokens(), sinks, sets, first_query, result);
  if (w_o) measure_bias(dump, sinks, w_o, sets, block, first_query, result);
  return result;
}

}  // namespace spikescope
