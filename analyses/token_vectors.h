// What a hook point holds at chosen tokens of all windows: spike tokens, and a sample of ordinary ones.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "analyses/residual_scan.h"
#include "analyses/spike_sets.h"
#include "capture/dump.h"

namespace spikescope {

/// Tokens of each prompt, ascending; [prompts].
using TokensByPrompt = std::vector<std::vector<int64_t>>;

/// Ordinary tokens stand at this position or later, and so many of a window are taken.
inline constexpr int64_t kFirstOrdinary = 8, kOrdinaryTokens = 64;

/// The fixed sample of ordinary ("semantic") tokens that all layers share: at most kOrdinaryTokens of each window,
/// drawn without replacement from its tokens t >= kFirstOrdinary that are no spike tokens in any state. The same seed
/// draws the same tokens on every machine.
TokensByPrompt sample_ordinary(const DumpTokens& tokens, std::span<const LayerScan> states, uint64_t seed);

/// The tokens that make a block's template: its spike tokens, or, where at most half of the windows have any, the
/// latest ones.
TokensByPrompt template_tokens(std::span<const SpikeSet> block);

/// Tokens that every window begins with, in the same order. In a causal model such a token's vectors are the same in
/// all windows, whatever the model does. 0 for a single window and where a token sees those behind it.
int64_t constant_prefix(const DumpReader& dump);

/// Vectors of tokens, by prompt.
struct TokenVectors {
  int64_t d = 0;
  std::vector<float> values;     ///< [n, d]
  std::vector<int64_t> offsets;  ///< [prompts + 1]: prompt p has vectors offsets[p] .. offsets[p + 1]

  int64_t size() const { return offsets.back(); }
  int64_t n_prompts() const { return static_cast<int64_t>(offsets.size()) - 1; }
  std::span<const float> operator[](int64_t index) const { return {values.data() + index * d, static_cast<size_t>(d)}; }
  /// [d]; NaN without vectors.
  std::vector<double> mean() const;
};

/// For the jackknife of what is made of all windows together, these are dealt into so many groups at most: prompt p into
/// group p % window_groups().
inline constexpr int64_t kWindowGroups = 16;
inline int64_t window_groups(int64_t prompts) { return prompts < kWindowGroups ? prompts : kWindowGroups; }

/// A point with rows [d], one a token of all prompts: as a dump has it, or made of what it has (block_inputs.h).
struct VectorSource {
  HookPoint point;
  std::function<std::vector<float>(int64_t first, int64_t count)> read;  ///< as DumpReader::read()
};
/// The point as the dump has it.
VectorSource dumped(const DumpReader& dump, const HookPoint& point);

/// Reads the tokens' rows. Throws Error, naming layer and place, for values that are not finite.
TokenVectors read_vectors(const DumpReader& dump, const VectorSource& source, const TokensByPrompt& tokens);

/// The same of the random first tokens (DumpReader::random_first()), each a window of its own; none where the dump has
/// none.
TokenVectors read_random_first(const DumpReader& dump, const VectorSource& source);

}  // namespace spikescope
