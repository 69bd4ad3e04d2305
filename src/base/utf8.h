// UTF-8: checking it, walking it, and making text of bytes that may be broken.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spikescope {

/// Offset of the first byte that is not part of a well-formed character; npos when all of `text` is well-formed.
/// Surrogates, overlong forms and code points above U+10FFFF are not well-formed.
size_t find_invalid_utf8(std::string_view text);

/// `bytes` as text: each maximal part that begins a character without completing it becomes one U+FFFD (Unicode's
/// recommended practice, and what Rust's String::from_utf8_lossy does).
std::string utf8_lossy(std::string_view bytes);

constexpr char32_t kInvalidUtf8 = static_cast<char32_t>(-1);

/// The code point that text[position...] begins with, and moves `position` behind it; kInvalidUtf8 where none does,
/// moving behind the longest part that begins a character. `text` may hold any bytes; `position` < text.size().
char32_t next_code_point(std::string_view text, size_t& position);

/// Bytes of the character that begins with `lead`, in well-formed text.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/// The character at `text[offset]`; moves `offset` behind it. `text` must be well-formed and `offset` inside it.
char32_t next_character(std::string_view text, size_t& offset);

/// The last character of well-formed, non-empty text.
char32_t last_character(std::string_view text);

/// Appends a Unicode scalar value.
void append_utf8(std::string& text, char32_t character);

}  // namespace spikescope
