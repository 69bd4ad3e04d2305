#include "text/prefix_trie.h"

#include <algorithm>

namespace spikescope {
namespace {

std::vector<std::pair<std::string_view, int32_t>> entries_of(const Vocabulary& vocabulary) {
  vocabulary.check_lengths();
  std::vector<std::pair<std::string_view, int32_t>> entries;
  for (const auto& [piece, id] : vocabulary.entries()) entries.emplace_back(piece, static_cast<int32_t>(id));
  return entries;
}

}  // namespace

PrefixTrie::PrefixTrie(const Vocabulary& vocabulary) : PrefixTrie(entries_of(vocabulary)) {}

PrefixTrie::PrefixTrie(std::vector<std::pair<std::string_view, int32_t>> entries) : nodes_(1), labels_(1) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // The keys below a node are a range of the sorted ones. One level of nodes is made after the other.
  struct Range {
    uint32_t node;
    size_t begin, end;
  };
  std::vector<Range> level = {{kRoot, 0, entries.size()}};
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> below;
    for (const auto& [node, begin, end] : level) {
      size_t at = begin;
      for (; at < end && entries[at].first.size() == depth; ++at) nodes_[node].value = entries[at].second;
      nodes_[node].first = static_cast<uint32_t>(nodes_.size());
      while (at < end) {
        const size_t first = at;
        const char byte = entries[first].first[depth];
        while (at < end && entries[at].first[depth] == byte) ++at;
        below.push_back({static_cast<uint32_t>(nodes_.size()), first, at});
        labels_.push_back(static_cast<uint8_t>(byte));
        nodes_.emplace_back();
      }
      nodes_[node].children = static_cast<uint32_t>(nodes_.size()) - nodes_[node].first;
    }
    level = std::move(below);
  }
  from_root_.fill(kNone);
  for (uint32_t i = 0; i < nodes_[kRoot].children; ++i) {
    from_root_[labels_[nodes_[kRoot].first + i]] = nodes_[kRoot].first + i;
  }
}

uint32_t PrefixTrie::walk(uint32_t node, std::string_view text) const {
  for (const char byte : text) {
    node = step(node, byte);
    if (node == kNone) return kNone;
  }
  return node;
}

}  // namespace spikescope
