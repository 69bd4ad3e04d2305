#include "text/characters.h"

#include <unicode/uchar.h>

#include "base/utf8.h"

namespace spikescope {
namespace {

bool has_category(char32_t c, uint32_t mask) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & mask) != 0; }
// Whether `c` has a category and was there already in version `major` of Unicode.
bool has_category_since(char32_t c, uint32_t mask, uint8_t major) {
  if (!has_category(c, mask)) return false;
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(c), version);
  return version[0] <= major;
}
bool has_property(char32_t c, UProperty property) { return u_hasBinaryProperty(static_cast<UChar32>(c), property); }

}  // namespace

bool is_whitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return has_property(c, UCHAR_WHITE_SPACE);
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return has_category(c, U_GC_N_MASK);
}

bool is_word(char32_t c) {
  return has_category(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) || has_property(c, UCHAR_ALPHABETIC) ||
         has_property(c, UCHAR_JOIN_CONTROL);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  }
  return has_category_since(c, U_GC_P_MASK, 8);
}

bool is_mark(char32_t c) { return has_category_since(c, U_GC_M_MASK, 9); }
bool is_accent(char32_t c) { return has_category_since(c, U_GC_MN_MASK, 8); }

bool is_control(char32_t c) {
  if (c < 0x80) return c < ' ' || c == 0x7f;
  return has_category_since(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK, 8);
}

void append_lowercase(std::string& text, char32_t c) {
  if (c == 0x130) {  // the one character whose lower case is two, whatever the language
    text += "i\u0307";
  } else {
    append_utf8(text, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
}

}  // namespace spikescope
