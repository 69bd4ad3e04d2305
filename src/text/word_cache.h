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
  };

  /// The word's place, to look into and to fill(); `word` is not empty and not longer than kLongestWord.
  Place& place(std::string_view word) {
    if (places_.empty()) places_.resize(kPlaces);
    return places_[std::hash<std::string_view>{}(word) % kPlaces];
  }
  static void fill(Place& place, std::string_view word, std::span<const int64_t> ids) {
    if (ids.size() > kMostIds) return;
    place.length = static_cast<uint8_t>(word.size());
    place.count = static_cast<uint8_t>(ids.size());
    std::memcpy(place.text, word.data(), word.size());
    for (size_t i = 0; i < ids.size(); ++i) place.ids[i] = static_cast<int32_t>(ids[i]);
  }

 private:
  static constexpr size_t kPlaces = size_t{1} << 14;
  std::vector<Place> places_;
};

}  // namespace spikescope
