#include "text/vocabulary.h"

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

// Ids may leave gaps, for tokens that a file lists elsewhere or not at all; this is more than any tokenizer's gap.
constexpr int64_t kGapLimit = int64_t{1} << 20;

constexpr size_t kLongestPiece = 1024;  // bytes

}  // namespace

Vocabulary::Vocabulary(size_t count, std::string where)
    : where_(std::move(where)), limit_(static_cast<int64_t>(count) + kGapLimit) {
  ids_.reserve(count);
}

void Vocabulary::add(std::string piece, int64_t id) {
  if (id < 0 || id >= limit_) {
    fail("{}: the piece \"{}\" has the id {}, expected 0 to {}; correct the file or fetch it again", where_,
         printable(piece), id, limit_ - 1);
  }
  if (this->piece(id)) {
    fail("{}: the id {} belongs to both \"{}\" and \"{}\"; correct the file or fetch it again", where_, id,
         printable(*this->piece(id)), printable(piece));
  }
  const auto& [text, _] = entries_.emplace_back(std::move(piece), id);
  if (!text.empty() && !ids_.emplace(text, static_cast<int32_t>(id)).second) {
    fail("{}: the piece \"{}\" has two ids, {} and {}; correct the file or fetch it again", where_, printable(text),
         find(text), id);
  }
  if (id >= size()) by_id_.resize(static_cast<size_t>(id) + 1);
  by_id_[static_cast<size_t>(id)] = &text;
}

const std::string* Vocabulary::piece(int64_t id) const {
  return id >= 0 && id < size() ? by_id_[static_cast<size_t>(id)] : nullptr;
}

void Vocabulary::check_lengths() const {
  for (const auto& [piece, id] : entries_) {
    if (piece.size() <= kLongestPiece) continue;
    fail("{}: piece {} (\"{}\") has {} bytes, expected at most {}; fetch the file again", where_, id, printable(piece),
         piece.size(), kLongestPiece);
  }
}

}  // namespace spikescope
