// Ids of words met lately. Text repeats its words, and looking one up is cheaper than merging it again.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace spikescope {

/// One place per hash value, a cache line each; a word takes the place of the one before it. 1 MiB, whatever the text.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 30;  ///< bytes
  static constexpr size_t kMostIds = 8;

  struct Place {
    uint8_t length = 0, count = 0;
    char text[kLongestWord];
    int32_t ids[kMostIds];
    bool holds(std::string_view word) const {
      return length == word.size() && std::memcmp(text, word.data(), word.size()) == 0;
    }
    void fill(std::string_view word, std::span<const int64_t> found) {
      if (found.size() > kMostIds) return;
      length = static_cast<uint8_t>(word.size());
      count = static_cast<uint8_t>(found.size());
      std::memcpy(text, word.data(), word.size());
      for (size_t i = 0; i < found.size(); ++i) ids[i] = static_cast<int32_t>(found[i]);
    }
  };

  /// Appends the ids of a word (not empty), which `append()` does where the cache does not know them.
  template <class Append>
  void encode(std::string_view word, std::vector<int64_t>& ids, const Append& append) {
    if (word.size() > kLongestWord) return append();
    if (places_.empty()) places_.resize(kPlaces);
    Place& place = places_[std::hash<std::string_view>{}(word) % kPlaces];
    if (place.holds(word)) {
      ids.insert(ids.end(), place.ids, place.ids + place.count);
      return;
    }
    const size_t before = ids.size();
    append();
    place.fill(word, std::span(ids).subspan(before));
  }

 private:
  static constexpr size_t kPlaces = size_t{1} << 14;
  std::vector<Place> places_;
};

}  // namespace spikescope
