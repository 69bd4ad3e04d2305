#include "text/text_steps.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <iterator>

#include "base/fail.h"
#include "base/utf8.h"
#include "text/characters.h"

namespace spikescope {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Replaces every character by what `append(result, character)` appends for it.
template <class Append>
void rebuild(std::string& text, const Append& append) {
  std::string result;
  result.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) append(result, next_character(text, offset));
  text = std::move(result);
}

template <class Drop>
void remove_if(std::string& text, const Drop& drop) {
  rebuild(text, [&](std::string& result, char32_t c) {
    if (!drop(c)) append_utf8(result, c);
  });
}

void normalize(const icu::Normalizer2* (*get_form)(UErrorCode&), std::string& text) {
  if (is_ascii(text)) return;
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = get_form(status);
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  if (U_SUCCESS(status)) {
    form->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  }
  if (U_FAILURE(status)) fail("Unicode normalization failed: {}; is ICU's data installed?", u_errorName(status));
  text = std::move(result);
}

struct Range {
  char32_t first, last;
  bool holds(char32_t c) const { return c >= first && c <= last; }
};

template <size_t count>
bool in_any(const Range (&ranges)[count], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges), [c](const Range& range) { return range.holds(c); });
}

// The blocks that the `tokenizers` library takes for Chinese; U+2B820 to U+2B91F are not among them.
constexpr Range kChinese[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},  {0x20000, 0x2a6df},
                              {0x2a700, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};

constexpr Range kNmtRemoved[] = {{0x01, 0x08}, {0x0b, 0x0b}, {0x0e, 0x1f}, {0x7f, 0x7f}, {0x8f, 0x8f}, {0x9f, 0x9f}};
constexpr Range kNmtSpaces[] = {{'\t', '\n'},     {0x0c, '\r'},     {0x1680, 0x1680}, {0x200b, 0x200f},
                                {0x2028, 0x2029}, {0x2581, 0x2581}, {0xfeff, 0xfeff}, {0xfffd, 0xfffd}};

}  // namespace

void to_nfc(std::string& text) { normalize(icu::Normalizer2::getNFCInstance, text); }
void to_nfd(std::string& text) { normalize(icu::Normalizer2::getNFDInstance, text); }
void to_nfkc(std::string& text) { normalize(icu::Normalizer2::getNFKCInstance, text); }
void to_nfkd(std::string& text) { normalize(icu::Normalizer2::getNFKDInstance, text); }

void to_lowercase(std::string& text) { rebuild(text, append_lowercase); }

void strip_marks(std::string& text) {
  if (!is_ascii(text)) remove_if(text, is_mark);
}

void strip_whitespace_left(std::string& text) {
  size_t begin = 0;
  for (size_t offset = 0; offset < text.size() && is_whitespace(next_character(text, offset));) begin = offset;
  text.erase(0, begin);
}

void strip_whitespace_right(std::string& text) {
  size_t end = 0;
  for (size_t offset = 0; offset < text.size();) {
    if (!is_whitespace(next_character(text, offset))) end = offset;
  }
  text.resize(end);
}

void clean_controls(std::string& text) {
  rebuild(text, [](std::string& result, char32_t c) {
    if (is_whitespace(c) && !(c == '\v' || c == '\f' || c == 0x85)) {
      result += ' ';
    } else if (c != 0xfffd && !is_control(c)) {
      append_utf8(result, c);
    }
  });
}

void set_chinese_apart(std::string& text) {
  if (is_ascii(text)) return;
  rebuild(text, [](std::string& result, char32_t c) {
    const bool apart = in_any(kChinese, c);
    if (apart) result += ' ';
    append_utf8(result, c);
    if (apart) result += ' ';
  });
}

void strip_accents(std::string& text) {
  if (is_ascii(text)) return;
  to_nfd(text);
  remove_if(text, is_accent);
}

void clean_for_translation(std::string& text) {
  rebuild(text, [](std::string& result, char32_t c) {
    if (in_any(kNmtSpaces, c)) {
      result += ' ';
    } else if (!in_any(kNmtRemoved, c)) {
      append_utf8(result, c);
    }
  });
}

}  // namespace spikescope
