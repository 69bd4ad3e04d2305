#include "quant/prefix.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "base/fail.h"

namespace spikescope {
namespace {

bool goes_on(const TokenBatch& batch, size_t prompt) { return !batch.parents.empty() && batch.parents[prompt] >= 0; }

}  // namespace

std::vector<int64_t> choose_prefix(const TokenBatch& batch, std::span<const uint8_t> spikes) {
  struct Count {
    int64_t later = 0, all = 0;
  };
  std::map<int64_t, Count> counts;  // by id
  int64_t total = 0;
  for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt)
    for (int64_t row = batch.offsets[prompt]; row < batch.offsets[prompt + 1]; ++row) {
      if (!spikes[static_cast<size_t>(row)]) continue;
      Count& count = counts[batch.ids[static_cast<size_t>(row)]];
      count.later += row > batch.offsets[prompt];
      ++count.all;
      ++total;
    }
  std::vector<int64_t> ids;
  for (const auto& entry : counts) ids.push_back(entry.first);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
    const Count &left = counts.at(a), &right = counts.at(b);
    return left.later != right.later ? left.later > right.later : left.all > right.all;
  });
  const double mean = static_cast<double>(total) / static_cast<double>(batch.offsets.size() - 1);
  const auto most = static_cast<size_t>(std::max(1.0, std::round(mean)));
  if (ids.size() > most) ids.resize(most);
  return ids;
}

std::optional<std::vector<int64_t>> parse_prefix(const std::string& text) {
  if (text == "auto") return std::nullopt;
  std::vector<int64_t> ids;
  if (text == "none") return ids;
  const char *at = text.data(), *const end = at + text.size();
  for (;;) {
    int64_t id = -1;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || (next != end && *next != ','))
      fail_usage("--prefix {}: expected auto, none, or token ids with commas between them, e.g. 198,28", text);
    ids.push_back(id);
    if (next == end) return ids;
    at = next + 1;
  }
}

TokenBatch with_prefix(const TokenBatch& batch, std::span<const int64_t> prefix) {
  if (prefix.empty()) return batch;
  TokenBatch result;
  result.pixels = batch.pixels;
  result.parents = batch.parents;
  result.offsets = {0};
  for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt) {
    if (!goes_on(batch, prompt)) result.ids.insert(result.ids.end(), prefix.begin(), prefix.end());
    result.ids.insert(result.ids.end(), batch.ids.begin() + batch.offsets[prompt],
                      batch.ids.begin() + batch.offsets[prompt + 1]);
    result.offsets.push_back(static_cast<int64_t>(result.ids.size()));
  }
  return result;
}

std::vector<uint8_t> prefix_rows(const TokenBatch& batch, size_t prefix) {
  std::vector<uint8_t> rows(batch.ids.size());
  for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt)
    if (!goes_on(batch, prompt)) std::fill_n(rows.begin() + batch.offsets[prompt], prefix, uint8_t{1});
  return rows;
}

std::vector<int64_t> own_rows(const std::vector<uint8_t>& marked) {
  std::vector<int64_t> rows;
  for (size_t row = 0; row < marked.size(); ++row)
    if (!marked[row]) rows.push_back(static_cast<int64_t>(row));
  return rows;
}

}  // namespace spikescope
