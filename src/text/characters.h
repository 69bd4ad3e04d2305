// Classes of Unicode characters as Rust's standard library and the `tokenizers` crate define them. Punctuation, marks,
// accents and control characters are those of the Unicode versions that its tables are from; younger ones are none.
#pragma once

#include <string>

namespace spikescope {

bool is_whitespace(char32_t c);   ///< property White_Space (char::is_whitespace, regex \s)
bool is_numeric(char32_t c);      ///< categories Nd, Nl, No (char::is_numeric)
bool is_word(char32_t c);         ///< regex \w: Alphabetic, M, Nd, Pc, Join_Control
bool is_punctuation(char32_t c);  ///< categories P*, and all ASCII punctuation, symbols like $ and ^ included
bool is_mark(char32_t c);         ///< categories Mn, Mc, Me
bool is_accent(char32_t c);       ///< category Mn
bool is_control(char32_t c);      ///< categories Cc, Cf, Co
/// Appends the lower-case form of `c` alone, whatever stands around it (a final sigma is not special).
void append_lowercase(std::string& text, char32_t c);

}  // namespace spikescope
