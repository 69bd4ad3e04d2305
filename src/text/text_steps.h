// What normalizers do to a text, step by step. Texts are well-formed UTF-8 before and after.
#pragma once

#include <string>

namespace spikescope {

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
