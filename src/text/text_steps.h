// What normalizers do to a text, step by step. Texts are well-formed UTF-8 before and after.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace spikescope {

constexpr size_t kLongestText = INT32_MAX;  ///< bytes: ICU and the models count in 32 bits

/// More than any sound tokenizer makes of a text of `bytes`, in either direction.
inline size_t most_bytes_from(size_t bytes) {
  constexpr size_t kFactor = 32;  // Unicode's own forms reach 11, and ByteLevel doubles that
  return std::min(std::max<size_t>(bytes, 1), kLongestText / kFactor) * kFactor;
}

void to_nfc(std::string& text);
void to_nfd(std::string& text);
void to_nfkc(std::string& text);
void to_nfkd(std::string& text);

/// Each character alone, whatever stands around it (a final sigma is not special).
void to_lowercase(std::string& text);
/// Takes all marks out; those that are part of a character stay, unless it is decomposed (NFD) before.
void strip_marks(std::string& text);
void strip_whitespace_left(std::string& text);
void strip_whitespace_right(std::string& text);

/// BERT's: takes control characters out, and makes every white space a space.
void clean_controls(std::string& text);
/// BERT's: puts a space on either side of every Chinese character.
void set_chinese_apart(std::string& text);
/// BERT's: canonical decomposition without nonspacing marks.
void strip_accents(std::string& text);

/// SentencePiece's rule "nmt": takes control characters out, and makes spaces of what has no width or ends a line.
void clean_for_translation(std::string& text);

}  // namespace spikescope
