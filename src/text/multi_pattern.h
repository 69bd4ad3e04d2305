// Finding many strings in a text at once, in time that is linear in the text whatever the strings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spikescope {

/// Leftmost-longest, non-overlapping matches of a set of strings. An Aho-Corasick automaton of the reversed strings
/// runs over the text from its end, which gives the longest string beginning at each place; a sweep from the front then
/// takes the first, goes on behind it, and so on. No text is read twice.
class MultiPattern {
 public:
  MultiPattern() = default;
  /// Empty patterns never match; of equal ones the first does.
  explicit MultiPattern(const std::vector<std::string>& patterns);

  struct Match {
    size_t begin, end;
    size_t pattern;  ///< index into the patterns
  };
  std::vector<Match> find_all(std::string_view text) const;

 private:
  struct State {
    uint32_t failure = 0;
    int32_t pattern = -1;  ///< longest pattern that ends here, that of a failure state included
  };
  uint32_t step(uint32_t state, uint8_t byte) const;

  std::vector<State> states_;
  std::array<uint32_t, 256> from_root_{};
  std::unordered_map<uint64_t, uint32_t> edges_;  ///< (state << 8 | byte) to state, root excluded
  std::vector<size_t> lengths_;
};

}  // namespace spikescope
