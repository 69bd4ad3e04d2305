#include "io/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace spikescope {
namespace {

// Bytes of the well-formed UTF-8 character that `text` begins with; 0 when it begins with none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : (lead & 0xf0) == 0xe0       ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
  if (lead == 0xed && byte(1) >= 0xa0) return 0;  // surrogate
  if (lead == 0xf0 && byte(1) < 0x90) return 0;   // overlong
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;  // beyond U+10FFFF
  return length;
}

bool is_control(std::string_view character) {
  const auto lead = static_cast<uint8_t>(character[0]);
  if (lead < 0x20 || lead == 0x7f) return true;
  if (character.size() == 2 && lead == 0xc2) return static_cast<uint8_t>(character[1]) < 0xa0;  // U+0080 to U+009F
  return character == "\u2028" || character == "\u2029";  // line and paragraph separators
}

}  // namespace

std::string printable(std::string_view text, size_t limit) {
  std::string result;
  while (!text.empty()) {
    if (result.size() >= limit) return result + "...";
    const size_t length = character_length(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    if (length > 0 && !is_control(character)) {
      result += character;
    } else {
      for (const char c : character) fmt::format_to(std::back_inserter(result), "\\x{:02x}", static_cast<uint8_t>(c));
    }
    text.remove_prefix(character.size());
  }
  return result;
}

}  // namespace spikescope
