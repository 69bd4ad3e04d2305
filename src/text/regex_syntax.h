// Regular expressions as tokenizers write them (Oniguruma's syntax), rewritten for PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace spikescope {

/// `pattern` for PCRE2 with UTF, UCP and MULTILINE. What the two libraries read differently is rewritten: \s and \S
/// (PCRE2 counts U+180E), \w, \W, \h, \H (hexadecimal digits), \v, \Q, \E, \uHHHH, [:alpha:] and the like, scripts like
/// \p{Han}, {,n}, and `{n,m}+`, which repeats and is not possessive. Throws Error, naming `where`, for what PCRE2 has
/// no equal to: set operations and negated classes inside classes, \W or \H inside a class, inline (?m), PCRE's
/// (*VERBS), rare
/// [:classes:].
/// What still differs: \b and \B take PCRE2's idea of a word (letters, numbers, underscore); characters that came with
/// a Unicode version one of the libraries does not know yet (PCRE2 10.42: 14, Oniguruma in tokenizers 0.23: 16).
std::string to_pcre2_syntax(std::string_view pattern, const std::string& where);

}  // namespace spikescope
