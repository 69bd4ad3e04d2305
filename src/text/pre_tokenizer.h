// Pre-tokenizers: how text is cut into the words that the model encodes one by one.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace spikescope {

struct Piece {
  std::string_view text;
  bool at_start;  ///< begins where the whole text begins
};

/// A text in pieces, with the strings that changed pieces lie in.
class Pieces {
 public:
  Pieces(std::string_view text, bool at_start) : pieces_{{text, at_start}} {}
  const std::vector<Piece>& get() const { return pieces_; }

  /// Hands every piece to `cut`, which calls add() for what becomes of it. Pieces of no length are dropped.
  template <class Cut>
  void rewrite(const Cut& cut) {
    std::vector<Piece> before;
    before.swap(pieces_);
    for (const Piece& piece : before) cut(piece);
  }
  void add(std::string_view text, bool at_start) {
    if (!text.empty()) pieces_.push_back({text, at_start});
  }
  /// Keeps `text` as long as the pieces live, and gives a view of it.
  std::string_view keep(std::string text) { return strings_.emplace_back(std::move(text)); }

 private:
  std::vector<Piece> pieces_;
  std::deque<std::string> strings_;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

struct PreTokenizers {
  std::vector<std::unique_ptr<const PreTokenizer>> stages;  ///< in the order in which they apply, Sequences unrolled
  /// The last step spells bytes as GPT-2 does (byte_level.h). It is left to the model, which can work on bytes instead.
  bool spell_bytes_last = false;
  /// Makes it a stage, for models that cannot.
  void spell_bytes_now();
};

/// From tokenizer.json's "pre_tokenizer" (null: none). Throws Error, naming `where`, for what is not supported.
PreTokenizers pre_tokenizers_from_json(const Json& json, const std::string& where);

}  // namespace spikescope
