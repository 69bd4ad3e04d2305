#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"
#include "text/byte_level.h"
#include "text/merge_queue.h"

namespace spikescope {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kHeapWord = size_t{1} << 14;  // symbols up to which the heap is the faster queue
constexpr char32_t kTableCharacters = 0x10000;
constexpr size_t kLongestAffix = 64;  // bytes: every character of a word is looked up with it

size_t joint_bit(int32_t left, int32_t right, size_t bits) {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> 40) & (bits - 1);
}

// Merges until nothing is left to merge. A candidate in the queue is stale when its place holds another pair by now.
template <class Queue>
void merge_all(const MergeTable& merges, std::vector<MergeSymbol>& symbols, Queue queue) {
  const auto offer = [&](uint32_t place) {
    if (const MergeRule* rule = merges.find(symbols[place].id, symbols[symbols[place].next].id)) {
      queue.push({rule->rank, place});
    }
  };
  for (uint32_t place = 0; place + 1 < symbols.size(); ++place) offer(place);
  while (!queue.empty()) {
    const MergeCandidate candidate = queue.pop();
    MergeSymbol& left = symbols[candidate.place];
    if (left.id < 0 || left.next == kNone) continue;
    MergeSymbol& right = symbols[left.next];
    const MergeRule* rule = merges.find(left.id, right.id);
    if (!rule || rule->rank != candidate.rank) continue;
    left.id = rule->result;
    left.next = right.next;
    right.id = -1;
    if (left.next != kNone) {
      symbols[left.next].previous = candidate.place;
      offer(candidate.place);
    }
    if (left.previous != kNone) offer(left.previous);
  }
}

}  // namespace

Bpe::Bpe(std::shared_ptr<const Vocabulary> vocabulary, const std::vector<MergeRule>& rules, BpeOptions options,
         const std::string& where)
    : vocabulary_(std::move(vocabulary)), merges_(rules), options_(std::move(options)), bytes_(*vocabulary_) {
  for (const std::string& affix : {options_.continuing_subword_prefix, options_.end_of_word_suffix}) {
    if (affix.size() <= kLongestAffix) continue;
    fail("{}: \"{}\" at a word's pieces has {} bytes, expected at most {}; correct the file or fetch it again", where,
         printable(affix), affix.size(), kLongestAffix);
  }
  has_affixes_ = !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  if (options_.unk_token) {
    unk_ = static_cast<int32_t>(vocabulary_->find(*options_.unk_token));
    if (unk_ < 0) {
      fail("{}: unk_token \"{}\" is not in the vocabulary; correct the file or fetch it again", where,
           printable(*options_.unk_token));
    }
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = static_cast<int32_t>(vocabulary_->find(byte_level_characters()[byte]));
  }
  character_ids_.assign(kTableCharacters, -1);
  for (const auto& [piece, id] : vocabulary_->entries()) {
    if (piece.empty() || utf8_length(piece[0]) != piece.size() || find_invalid_utf8(piece) != piece.npos) continue;
    size_t offset = 0;
    const char32_t character = next_character(piece, offset);
    if (character < kTableCharacters) character_ids_[character] = static_cast<int32_t>(id);
  }
  find_joints(rules);
}

// Long words (whole texts, where there is no pre-tokenizer) are cut where no merge can reach across, which changes
// nothing and lets the parts come from the cache. A merge across the boundary of two characters, the first one there,
// joins a piece that ends with the one to a piece that begins with the other; so the pairs of such characters, over all
// rules, are all the boundaries that matter. They are kept as bits at the place of their hash: a collision only means a
// cut less.
void Bpe::find_joints(const std::vector<MergeRule>& rules) {
  if (has_affixes_ || options_.ignore_merges) return;
  std::vector<uint64_t> joints(std::bit_ceil(std::clamp<size_t>(rules.size() * 8, 1024, size_t{1} << 22)) / 64);
  const auto character = [&](const std::string& piece, bool last) {
    size_t begin = last ? piece.size() - 1 : 0;
    while (last && begin > 0 && (piece[begin] & 0xc0) == 0x80) --begin;
    const size_t length = std::min(utf8_length(piece[begin]), piece.size() - begin);
    return static_cast<int32_t>(vocabulary_->find(std::string_view(piece).substr(begin, length)));
  };
  for (const MergeRule& rule : rules) {
    for (const int32_t id : {rule.left, rule.right}) {
      // Pieces that stand for unknown characters are no sequence of characters themselves.
      const std::string& piece = *vocabulary_->piece(id);
      if (piece.empty() || id == unk_ || (options_.byte_fallback && piece.starts_with("<0x"))) return;
    }
    const int32_t before = character(*vocabulary_->piece(rule.left), true);
    const int32_t after = character(*vocabulary_->piece(rule.right), false);
    const size_t bit = joint_bit(before, after, joints.size() * 64);
    joints[bit / 64] |= uint64_t{1} << bit % 64;
  }
  joints_ = std::move(joints);
}

bool Bpe::joins(int32_t left, int32_t right) const {
  const size_t bit = joint_bit(left, right, joints_.size() * 64);
  return (joints_[bit / 64] >> bit % 64 & 1) != 0;
}

size_t Bpe::character_length(std::string_view word, size_t offset) const {
  return options_.spell_bytes ? 1 : utf8_length(word[offset]);
}

std::string Bpe::spelled(std::string_view characters, bool first, bool last) const {
  const std::string body = options_.spell_bytes ? byte_level_spell(characters) : std::string(characters);
  return (first ? "" : options_.continuing_subword_prefix) + body + (last ? options_.end_of_word_suffix : "");
}

int32_t Bpe::character_id(std::string_view word, size_t offset, size_t length) const {
  if (has_affixes_) {
    return static_cast<int32_t>(
        vocabulary_->find(spelled(word.substr(offset, length), offset == 0, offset + length == word.size())));
  }
  if (options_.spell_bytes) return byte_ids_[static_cast<uint8_t>(word[offset])];
  size_t at = offset;
  const char32_t character = next_character(word, at);
  if (character < kTableCharacters) return character_ids_[character];
  return static_cast<int32_t>(vocabulary_->find(word.substr(offset, length)));
}

void Bpe::collect_symbols(std::string_view part, std::vector<MergeSymbol>& symbols) const {
  symbols.clear();
  const auto add = [&](int32_t id) {
    const auto place = static_cast<uint32_t>(symbols.size());
    symbols.push_back({id, place == 0 ? kNone : place - 1, place + 1});
  };
  bool unknown = false;  // an unk_token that is still to be added
  for (size_t offset = 0, length; offset < part.size(); offset += length) {
    length = character_length(part, offset);
    const int32_t id = character_id(part, offset, length);
    if (id >= 0) {
      if (unknown) add(unk_);
      unknown = false;
      add(id);
      continue;
    }
    if (options_.byte_fallback) {
      const std::string bytes = spelled(part.substr(offset, length), offset == 0, offset + length == part.size());
      if (bytes_.covers(bytes)) {
        for (const char byte : bytes) add(bytes_.id(byte));
        continue;
      }
    }
    if (unk_ < 0) continue;
    if (unknown && !options_.fuse_unk) add(unk_);
    unknown = true;
  }
  if (unknown) add(unk_);
  if (!symbols.empty()) symbols.back().next = kNone;
}

void Bpe::merge(std::string_view part, Workspace& workspace, std::vector<int64_t>& ids) const {
  if (options_.ignore_merges) {
    const int64_t id = vocabulary_->find(options_.spell_bytes ? byte_level_spell(part) : std::string(part));
    if (id >= 0) return ids.push_back(id);
  }
  collect_symbols(part, workspace.symbols);
  if (workspace.symbols.size() <= kHeapWord) {
    merge_all(merges_, workspace.symbols, HeapMergeQueue());
  } else {
    merge_all(merges_, workspace.symbols, BucketMergeQueue(merges_.highest_rank()));
  }
  for (const MergeSymbol& symbol : workspace.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

void Bpe::encode_part(std::string_view part, Workspace& workspace, std::vector<int64_t>& ids) const {
  workspace.cache.encode(part, ids, [&] { merge(part, workspace, ids); });
}

void Bpe::encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const {
  if (word.size() <= WordCache::kLongestWord || joints_.empty()) return encode_part(word, workspace, ids);
  size_t begin = 0;
  int32_t previous = -1;
  for (size_t offset = 0, length; offset < word.size(); offset += length) {
    length = character_length(word, offset);
    const int32_t id = character_id(word, offset, length);
    if (previous >= 0 && id >= 0 && !joins(previous, id)) {
      encode_part(word.substr(begin, offset - begin), workspace, ids);
      begin = offset;
    }
    previous = id;
  }
  encode_part(word.substr(begin), workspace, ids);
}

std::string Bpe::description() const { return fmt::format("BPE, {} merges", merges_.size()); }

}  // namespace spikescope
