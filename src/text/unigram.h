// SentencePiece's unigram model: of all ways to cut a word into pieces, the one with the highest sum of scores.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/byte_fallback.h"
#include "text/model.h"
#include "text/prefix_trie.h"
#include "text/vocabulary.h"

namespace spikescope {

struct UnigramOptions {
  std::optional<int64_t> unk_id = {};  ///< stands for a run of characters that no piece has
  bool byte_fallback = false;          ///< pieces "<0xE2>" for the bytes of such a run, before unk_id
};

class Unigram final : public Model {
 public:
  /// `scores` (log-probabilities) has one number per id of `vocabulary`, gaps included. Throws Error, naming `where`,
  /// for a score that is not finite, pieces longer than any SentencePiece model has, and an unk_id outside the
  /// vocabulary.
  Unigram(std::shared_ptr<const Vocabulary> vocabulary, std::vector<double> scores, UnigramOptions options,
          const std::string& where);

  /// Throws Error for a character that no piece has when there is no unk_id.
  void encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const override;
  std::string description() const override;

 private:
  void find_best_path(std::string_view word, std::vector<PathNode>& path) const;
  void cut(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const;
  void append_unknown(std::string_view run, std::vector<int64_t>& ids) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<double> scores_;
  UnigramOptions options_;
  std::string where_;
  PrefixTrie pieces_;
  ByteFallback bytes_;
  double unknown_score_;
};

/// From tokenizer.json's "model" of type Unigram, whose "vocab" is a list of [piece, score]. Throws Error, naming
/// `where`.
std::shared_ptr<const Vocabulary> unigram_vocabulary_from_json(const Json& json, const std::string& where);
std::unique_ptr<const Model> unigram_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                               const std::string& where);

}  // namespace spikescope
