// Pieces and their ids, both ways.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spikescope {

class Vocabulary {
 public:
  /// `count`: how many pieces will be added at most, which bounds the ids. `where` names the vocabulary in messages.
  Vocabulary(size_t count, std::string where);

  /// Throws Error when the id is negative, taken, or far beyond the number of pieces (memory is set aside up to the
  /// highest id), or when the piece is there already. Empty pieces, which files use to fill gaps, may repeat and are
  /// never found.
  void add(std::string piece, int64_t id);

  /// Id of a piece; -1 when it is none.
  int64_t find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? -1 : found->second;
  }
  /// nullptr when no piece has the id.
  const std::string* piece(int64_t id) const;
  /// Highest id + 1.
  int64_t size() const { return static_cast<int64_t>(by_id_.size()); }
  /// Throws Error for a piece of more bytes than any SentencePiece or WordPiece vocabulary has: the time that a text
  /// takes grows with the longest piece.
  void check_lengths() const;
  /// All pieces with their ids, in the order in which they were added.
  const std::deque<std::pair<std::string, int64_t>>& entries() const { return entries_; }

 private:
  std::string where_;
  int64_t limit_;
  std::deque<std::pair<std::string, int64_t>> entries_;  // a deque: the map's keys point into it
  std::vector<const std::string*> by_id_;
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace spikescope
