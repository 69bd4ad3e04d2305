// SentencePiece's compiled normalization rules: a table of characters and what they become.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// The table is a double array of 32-bit units (as darts-clone makes them) that leads from a character's bytes to an
/// offset among its replacements. It comes from a file and is not trusted: every step is checked.
class Charsmap {
 public:
  /// `bytes`: length of the double array in bytes (32 bits, little-endian), the array, the replacements (each ended by
  /// a zero byte). Throws Error, naming `where`, when they do not hold that.
  static Charsmap from_bytes(std::string_view bytes, const std::string& where);
  /// The same in base64, as in tokenizer.json.
  static Charsmap from_base64(std::string_view text, const std::string& where);

  /// Replaces what the rules know, as the `tokenizers` library does: a grapheme of less than six bytes by the rule for
  /// its shortest beginning that has one, else each character by its own. Throws Error when the array leads outside.
  /// A result of more than `most` bytes is not made to its end.
  void apply(std::string& text, size_t most = std::string::npos) const;

 private:
  Charsmap(std::vector<uint32_t> units, std::string replacements, std::string where);
  std::optional<std::string_view> find(std::string_view characters) const;
  void append_grapheme(std::string& result, std::string_view grapheme) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
  std::string where_;
};

}  // namespace spikescope
