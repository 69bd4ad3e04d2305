#include "text/word_piece.h"

#include <algorithm>

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xc0) != 0x80; });
}

}  // namespace

WordPiece::WordPiece(std::shared_ptr<const Vocabulary> vocabulary, WordPieceOptions options, const std::string& where)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      unk_(vocabulary_->find(options_.unk_token)),
      pieces_(*vocabulary_),
      inside_(pieces_.walk(PrefixTrie::kRoot, options_.continuing_subword_prefix)) {
  if (unk_ < 0) {
    fail("{}: unk_token \"{}\" is not in the vocabulary; correct the file or fetch it again", where,
         printable(options_.unk_token));
  }
}

// False when some part of the word has no piece; `ids` then holds those before it.
bool WordPiece::cut(std::string_view word, std::vector<int64_t>& ids) const {
  for (size_t begin = 0; begin < word.size();) {
    uint32_t node = begin == 0 ? PrefixTrie::kRoot : inside_;
    int32_t longest = -1;
    size_t behind = begin;
    for (size_t at = begin; at < word.size() && node != PrefixTrie::kNone;) {
      node = pieces_.step(node, word[at++]);
      if (node == PrefixTrie::kNone || pieces_.value(node) < 0) continue;
      longest = pieces_.value(node);
      behind = at;
    }
    if (longest < 0) return false;
    ids.push_back(longest);
    begin = behind;
  }
  return true;
}

void WordPiece::encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const {
  workspace.cache.encode(word, ids, [&] {
    const size_t before = ids.size();
    if (characters(word) <= options_.max_input_chars_per_word && cut(word, ids)) return;
    ids.resize(before);
    ids.push_back(unk_);
  });
}

std::string WordPiece::description() const {
  return fmt::format("WordPiece, {} pieces", vocabulary_->entries().size());
}

std::unique_ptr<const Model> word_piece_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                                  const std::string& where) {
  WordPieceOptions options;
  options.unk_token = json_get_or<std::string>(json, "unk_token", options.unk_token, where);
  options.continuing_subword_prefix =
      json_get_or<std::string>(json, "continuing_subword_prefix", options.continuing_subword_prefix, where);
  options.max_input_chars_per_word =
      json_get_or<int64_t>(json, "max_input_chars_per_word", options.max_input_chars_per_word, where);
  if (options.max_input_chars_per_word < 0) {
    fail("{}: max_input_chars_per_word is {}, expected a count from 0 on; correct the file or fetch it again", where,
         options.max_input_chars_per_word);
  }
  return std::make_unique<WordPiece>(std::move(vocabulary), std::move(options), where);
}

}  // namespace spikescope
