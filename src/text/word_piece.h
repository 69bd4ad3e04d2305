// WordPiece: from a word's beginning on, always the longest piece that fits.
#pragma once

#include <memory>
#include <string>

#include "io/json.h"
#include "text/model.h"
#include "text/prefix_trie.h"
#include "text/vocabulary.h"

namespace spikescope {

/// As in the "model" of tokenizer.json.
struct WordPieceOptions {
  std::string unk_token = "[UNK]";               ///< stands for a word that no pieces make up
  std::string continuing_subword_prefix = "##";  ///< marks pieces that go on with a word
  int64_t max_input_chars_per_word = 100;        ///< longer words are unk_token
};

class WordPiece final : public Model {
 public:
  /// Throws Error, naming `where`, when unk_token is not in the vocabulary, and for pieces longer than any vocabulary
  /// has.
  WordPiece(std::shared_ptr<const Vocabulary> vocabulary, WordPieceOptions options, const std::string& where);

  void encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const override;
  std::string description() const override;

 private:
  bool cut(std::string_view word, std::vector<int64_t>& ids) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  WordPieceOptions options_;
  int64_t unk_;
  PrefixTrie pieces_;
  uint32_t inside_;  ///< the node from which pieces go on with a word
};

/// From tokenizer.json's "model" of type WordPiece. Throws Error, naming `where`.
std::unique_ptr<const Model> word_piece_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                                  const std::string& where);

}  // namespace spikescope
