// Tokens in front of every text, in full precision, on which spikes settle so that the text has none (PrefixQuant,
// arXiv 2410.05265). What they give is the same for every text, so keys and values would be kept; here they go through
// the pass with each prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/batch.h"

namespace spikescope {

/// Chooses from the spike tokens of a calibration (`spikes`: [N] whether each token is one): as many ids as a prompt
/// has spike tokens in the mean, rounded, but one at least. Those come first that have the most spikes behind the first
/// position of their prompts, which a prefix takes from whatever stood there; then those with the most at all; then
/// the lowest ids. Empty where there are no spike tokens.
std::vector<int64_t> choose_prefix(const TokenBatch& batch, std::span<const uint8_t> spikes);

/// "auto" (nothing: to be chosen), "none" (no ids), or ids ("198,28"). Throws UsageError for anything else.
std::optional<std::vector<int64_t>> parse_prefix(const std::string& text);

/// The prompts, each with the prefix in front; those that go on from a parent have the parent's.
TokenBatch with_prefix(const TokenBatch& batch, std::span<const int64_t> prefix);
/// [N] 1: the token belongs to a prefix of so many ids, of what with_prefix() made.
std::vector<uint8_t> prefix_rows(const TokenBatch& batch, size_t prefix);

/// Rows that are not marked, ascending: where the tokens of the batch before with_prefix() are.
std::vector<int64_t> own_rows(const std::vector<uint8_t>& marked);
/// The values of rows that are not marked.
template <class T>
std::vector<T> unmarked(const std::vector<T>& values, const std::vector<uint8_t>& marked) {
  std::vector<T> rest;
  for (size_t row = 0; row < values.size(); ++row)
    if (!marked[row]) rest.push_back(values[row]);
  return rest;
}

}  // namespace spikescope
