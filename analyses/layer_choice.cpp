#include "analyses/layer_choice.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>
#include <string_view>

#include "base/fail.h"

namespace spikescope {
namespace {

/// The end of "all".
constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

std::optional<int64_t> read_block(std::string_view text) {
  int64_t block = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), block);
  return error == std::errc() && end == text.data() + text.size() && block >= 0 && block < kEnd ? std::optional(block)
                                                                                                 : std::nullopt;
}

}  // namespace

LayerChoice parse_layers(const std::string& text, const std::string& option) {
  if (text == "auto") return std::nullopt;
  std::vector<std::pair<int64_t, int64_t>> ranges;
  if (text == "all") ranges.emplace_back(0, kEnd);
  if (text == "all" || text == "none") return ranges;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view one = std::string_view(text).substr(at, comma - at);
    const size_t dash = one.find('-');
    const auto first = read_block(one.substr(0, dash)),
               last = dash == std::string_view::npos ? first : read_block(one.substr(dash + 1));
    if (!first || !last || *first > *last)
      fail_usage("{} {}: '{}' is no block; give auto, all, none, or blocks such as 0,12-20", option, text, one);
    ranges.emplace_back(*first, *last);
    at = comma + 1;
  }
  return ranges;
}

std::vector<int64_t> chosen_blocks(const LayerChoice& chosen, int64_t blocks) {
  std::set<int64_t> all;
  for (const auto& [first, last] : *chosen)
    for (int64_t block = first; block <= std::min(last, blocks - 1); ++block) all.insert(block);
  return {all.begin(), all.end()};
}

void check_layers(const LayerChoice& chosen, int64_t blocks, const std::string& option) {
  if (!chosen) return;
  for (const auto& [first, last] : *chosen) {
    const int64_t most = last == kEnd ? first : last;
    if (most >= blocks) fail_usage("{}: there is no block {}; the model has blocks 0 to {}", option, most, blocks - 1);
  }
}

}  // namespace spikescope
