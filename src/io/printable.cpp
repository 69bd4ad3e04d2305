#include "io/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

#include "base/utf8.h"

namespace spikescope {
namespace {

bool is_shown(char32_t code) {
  const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  return !control && code != 0x2028 && code != 0x2029 && code != kInvalidUtf8;  // separators of lines and paragraphs
}

}  // namespace

std::string printable(std::string_view text, size_t limit) {
  std::string result;
  for (size_t position = 0; position < text.size();) {
    if (result.size() >= limit) return result + "...";
    const size_t start = position;
    const bool shown = is_shown(next_code_point(text, position));
    const std::string_view character = text.substr(start, position - start);
    if (shown) {
      result += character;
    } else {
      for (const char c : character) fmt::format_to(std::back_inserter(result), "\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  return result;
}

}  // namespace spikescope
