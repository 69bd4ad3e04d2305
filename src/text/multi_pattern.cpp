#include "text/multi_pattern.h"

namespace spikescope {

MultiPattern::MultiPattern(const std::vector<std::string>& patterns) : states_(1) {
  struct Edge {
    uint32_t from, to;
    uint8_t byte;
  };
  std::vector<Edge> edges;  // in order of creation, that is parents before children within a pattern
  std::vector<size_t> depths = {0};
  const auto child = [&](uint32_t state, uint8_t byte) -> uint32_t& {
    return state == 0 ? from_root_[byte] : edges_[uint64_t{state} << 8 | byte];
  };
  for (size_t p = 0; p < patterns.size(); ++p) {
    lengths_.push_back(patterns[p].size());
    uint32_t state = 0;
    for (auto byte = patterns[p].rbegin(); byte != patterns[p].rend(); ++byte) {
      uint32_t& next = child(state, static_cast<uint8_t>(*byte));
      if (next == 0) {
        next = static_cast<uint32_t>(states_.size());
        edges.push_back({state, next, static_cast<uint8_t>(*byte)});
        depths.push_back(depths[state] + 1);
        states_.emplace_back();
      }
      state = next;
    }
    if (state != 0 && states_[state].pattern < 0) states_[state].pattern = static_cast<int32_t>(p);
  }
  // Failure states lie higher up, so states are finished by depth.
  std::vector<std::vector<Edge>> by_depth;
  for (const Edge& edge : edges) {
    if (depths[edge.to] > by_depth.size()) by_depth.resize(depths[edge.to]);
    by_depth[depths[edge.to] - 1].push_back(edge);
  }
  for (const auto& level : by_depth) {
    for (const Edge& edge : level) {
      State& state = states_[edge.to];
      state.failure = edge.from == 0 ? 0 : step(states_[edge.from].failure, edge.byte);
      if (state.pattern < 0) state.pattern = states_[state.failure].pattern;
    }
  }
}

uint32_t MultiPattern::step(uint32_t state, uint8_t byte) const {
  while (state != 0) {
    const auto edge = edges_.find(uint64_t{state} << 8 | byte);
    if (edge != edges_.end()) return edge->second;
    state = states_[state].failure;
  }
  return from_root_[byte];
}

std::vector<MultiPattern::Match> MultiPattern::find_all(std::string_view text) const {
  std::vector<Match> longest;  // at each place where a pattern begins, from right to left
  if (states_.size() > 1) {
    uint32_t state = 0;
    for (size_t i = text.size(); i-- > 0;) {
      state = step(state, static_cast<uint8_t>(text[i]));
      const int32_t pattern = states_[state].pattern;
      if (pattern >= 0) longest.push_back({i, i + lengths_[pattern], static_cast<size_t>(pattern)});
    }
  }
  std::vector<Match> matches;
  size_t end = 0;
  for (auto match = longest.rbegin(); match != longest.rend(); ++match) {
    if (match->begin < end) continue;
    matches.push_back(*match);
    end = match->end;
  }
  return matches;
}

}  // namespace spikescope
