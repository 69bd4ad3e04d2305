#include "analyses/token_vectors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/fail.h"
#include "io/json.h"
#include "stats/sample.h"

namespace spikescope {

TokensByPrompt sample_ordinary(const DumpTokens& tokens, std::span<const LayerScan> states, uint64_t seed) {
  TokensByPrompt sample(static_cast<size_t>(tokens.n_prompts()));
  for (int64_t prompt = 0; prompt < tokens.n_prompts(); ++prompt) {
    std::set<int64_t> spikes;
    for (const LayerScan& state : states) {
      for (const TokenSpike& spike : state.spikes[static_cast<size_t>(prompt)]) spikes.insert(spike.token);
    }
    std::vector<int64_t> candidates;
    for (int64_t token = kFirstOrdinary; token < tokens.length(prompt); ++token) {
      if (!spikes.contains(token)) candidates.push_back(token);
    }
    for (const int64_t index : sample_without_replacement(static_cast<int64_t>(candidates.size()), kOrdinaryTokens,
                                                          seed, static_cast<uint32_t>(prompt)))
      sample[static_cast<size_t>(prompt)].push_back(candidates[static_cast<size_t>(index)]);
  }
  return sample;
}

TokensByPrompt template_tokens(std::span<const SpikeSet> block) {
  TokensByPrompt tokens;
  for (const SpikeSet& set : block) tokens.push_back(most_have_spikes(block) ? set.tokens : set.latest);
  return tokens;
}

int64_t constant_prefix(const DumpReader& dump) {
  const DumpTokens& tokens = dump.tokens();
  if (tokens.n_prompts() < 2 || !json_get_or<bool>(dump.info().config, "causal", true, "config of the dump")) return 0;
  int64_t prefix = tokens.length(0);
  for (int64_t prompt = 1; prompt < tokens.n_prompts(); ++prompt) {
    const auto first = tokens.ids.begin() + tokens.offsets[static_cast<size_t>(prompt)];
    prefix = std::min(prefix, tokens.length(prompt));
    prefix = std::mismatch(tokens.ids.begin(), tokens.ids.begin() + prefix, first).first - tokens.ids.begin();
  }
  return prefix;
}

std::vector<double> TokenVectors::mean() const {
  std::vector<double> sum(static_cast<size_t>(d));
  for (int64_t i = 0; i < size(); ++i) {
    for (int64_t dim = 0; dim < d; ++dim) sum[static_cast<size_t>(dim)] += values[static_cast<size_t>(i * d + dim)];
  }
  const double count = size() > 0 ? static_cast<double>(size()) : std::numeric_limits<double>::quiet_NaN();
  for (double& value : sum) value /= count;
  return sum;
}

VectorSource dumped(const DumpReader& dump, const HookPoint& point) {
  return {point, [&dump, point](int64_t first, int64_t count) { return dump.read(point, first, count); }};
}

TokenVectors read_vectors(const DumpReader& dump, const VectorSource& source, const TokensByPrompt& tokens) {
  TokenVectors vectors;
  vectors.d = dump.d_model();
  vectors.offsets = {0};
  for (size_t prompt = 0; prompt < tokens.size(); ++prompt) {
    const std::vector<int64_t>& chosen = tokens[prompt];
    vectors.offsets.push_back(vectors.offsets.back() + static_cast<int64_t>(chosen.size()));
    if (chosen.empty()) continue;
    const std::vector<float> rows =
        source.read(dump.tokens().offsets[prompt] + chosen.front(), chosen.back() - chosen.front() + 1);
    for (const int64_t token : chosen) {
      const auto row = rows.begin() + (token - chosen.front()) * vectors.d;
      const auto bad = std::find_if(row, row + vectors.d, [](float value) { return !std::isfinite(value); });
      if (bad != row + vectors.d)
        fail("{}: {} is {} at prompt {}, token {}, dimension {}: finite values expected; capture again",
             (dump.out() / "dump").string(), source.point.name(), *bad, prompt, token, bad - row);
      vectors.values.insert(vectors.values.end(), row, row + vectors.d);
    }
  }
  return vectors;
}

TokenVectors read_random_first(const DumpReader& dump, const VectorSource& source) {
  TokenVectors vectors;
  vectors.d = dump.d_model();
  vectors.offsets.resize(static_cast<size_t>(dump.random_first() + 1));
  std::iota(vectors.offsets.begin(), vectors.offsets.end(), int64_t{0});
  if (dump.random_first() == 0) return vectors;
  vectors.values = source.read(dump.tokens().size(), dump.random_first());
  const auto bad =
      std::find_if(vectors.values.begin(), vectors.values.end(), [](float v) { return !std::isfinite(v); });
  if (bad != vectors.values.end())
    fail("{}: {} is {} at random first token {}: finite values expected; capture again", (dump.out() / "dump").string(),
         source.point.name(), *bad, (bad - vectors.values.begin()) / vectors.d);
  return vectors;
}

}  // namespace spikescope
