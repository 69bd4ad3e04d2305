// Byte-pair encoding: a word's characters (or bytes) are joined pair by pair, in the order of the merges.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/byte_fallback.h"
#include "text/merge_table.h"
#include "text/model.h"
#include "text/vocabulary.h"

namespace spikescope {

/// As in the "model" of tokenizer.json.
struct BpeOptions {
  std::optional<std::string> unk_token = {};   ///< stands for characters outside the vocabulary; without it they vanish
  bool fuse_unk = false;                       ///< one unk_token for a run of such characters
  bool byte_fallback = false;                  ///< pieces "<0xE2>" for the bytes of such characters, before unk_token
  bool ignore_merges = false;                  ///< a word that is a piece is that piece, whatever the merges
  std::string continuing_subword_prefix = {};  ///< in front of every character but a word's first
  std::string end_of_word_suffix = {};         ///< behind a word's last character
  bool spell_bytes = false;                    ///< words are spelled as byte_level.h does before anything else
};

class Bpe final : public Model {
 public:
  /// `rules` name ids of `vocabulary`. Throws Error, naming `where`, when unk_token is not in the vocabulary, and for
  /// absurdly long affixes.
  Bpe(std::shared_ptr<const Vocabulary> vocabulary, const std::vector<MergeRule>& rules, BpeOptions options,
      const std::string& where);

  void encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const override;
  std::string description() const override;

 private:
  void encode_part(std::string_view part, Workspace& workspace, std::vector<int64_t>& ids) const;
  void merge(std::string_view part, Workspace& workspace, std::vector<int64_t>& ids) const;
  void collect_symbols(std::string_view part, std::vector<MergeSymbol>& symbols) const;
  int32_t character_id(std::string_view word, size_t offset, size_t length) const;
  size_t character_length(std::string_view word, size_t offset) const;
  std::string spelled(std::string_view characters, bool first, bool last) const;
  void find_joints(const std::vector<MergeRule>& rules);
  bool joins(int32_t left, int32_t right) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  ByteFallback bytes_;
  int32_t unk_ = -1;
  bool has_affixes_ = false;
  std::array<int32_t, 256> byte_ids_{};  ///< of pieces that spell one byte, -1 for none
  std::vector<int32_t> character_ids_;   ///< of pieces of one character below U+10000, -1 for none
  std::vector<uint64_t> joints_;         ///< see joins(); empty: words are never cut
};

/// From tokenizer.json's "model" of type BPE. `spell_bytes`: see BpeOptions. Throws Error, naming `where`, for merges
/// that name unknown pieces, dropout, and fields of the wrong type.
std::unique_ptr<const Model> bpe_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                           bool spell_bytes, const std::string& where);

/// The rules of merges given as (left, right) pieces in the order of their ranks; `prefix` is what the right piece
/// loses when it is joined. Throws Error naming the merge whose pieces or result are not in the vocabulary.
struct MergePair {
  std::string left, right;
};
std::vector<MergeRule> rules_of_merges(const std::vector<MergePair>& merges, const Vocabulary& vocabulary,
                                       size_t prefix, const std::string& where);
/// Splits "left right"; throws Error when there is not exactly one space.
MergePair split_merge(std::string_view merge, size_t index, const std::string& where);

}  // namespace spikescope
