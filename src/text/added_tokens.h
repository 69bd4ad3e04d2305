// Tokens that are recognised in the text itself, before the model sees it: special tokens and others added to a
// vocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/multi_pattern.h"

namespace spikescope {

struct AddedToken {
  std::string content;
  std::string spelling = {};  ///< as text decoded from ids has it: in normalized form where `normalized`
  int64_t id = 0;
  bool special = false;      ///< left out of text decoded with skip_special
  bool normalized = false;   ///< looked for after normalization, in its own normalized form
  bool lstrip = false;       ///< takes white space before it along
  bool rstrip = false;       ///< takes white space behind it along
  bool single_word = false;  ///< counts only where no word character touches it
};

/// Throws Error, naming `where`, for a content of more bytes than any tokenizer's: what finds them in texts takes many
/// times their memory.
void check_added_token(const AddedToken& token, const std::string& where);

class AddedTokens {
 public:
  AddedTokens() = default;
  /// `normalize` gives the form in which tokens with `normalized` stand in normalized text. Of two tokens with the same
  /// content the last counts. Ids must be >= 0; spellings are made here.
  AddedTokens(std::vector<AddedToken> tokens, const std::function<std::string(const std::string&)>& normalize);

  /// A part of a text: a token, or text between tokens (not empty).
  struct Part {
    const AddedToken* token;  ///< nullptr for text
    std::string_view text;    ///< empty for tokens
  };
  using Visitor = std::function<void(const Part&)>;
  /// Cuts raw text at tokens without `normalized`, normalized text at tokens with it.
  void split_raw(std::string_view text, const Visitor& visit) const { split(raw_, text, visit); }
  void split_normalized(std::string_view text, const Visitor& visit) const { split(normalized_, text, visit); }

  /// nullptr when `id` / `content` is no added token.
  const AddedToken* find(int64_t id) const;
  const AddedToken* find(std::string_view content) const;
  bool is_special(std::string_view content) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Group {
    MultiPattern patterns;
    std::vector<size_t> tokens;  ///< index into tokens_ of each pattern
  };
  void split(const Group& group, std::string_view text, const Visitor& visit) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int64_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  Group raw_, normalized_;
};

}  // namespace spikescope
