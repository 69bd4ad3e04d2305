#include "text/charsmap.h"

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "base/utf8.h"
#include "text/graphemes.h"

namespace spikescope {
namespace {

constexpr size_t kLongestGrapheme = 5;  // bytes; the library looks up the characters of longer ones alone

// One unit of the double array.
struct Unit {
  uint32_t bits;
  uint32_t offset() const { return (bits >> 10) << ((bits & 1u << 9) >> 6); }  // of its children, relative to it
  uint32_t label() const { return bits & (1u << 31 | 0xff); }                  // the byte that leads to it
  bool has_value() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & ~(1u << 31); }
};

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string base64_bytes(std::string_view text, const std::string& where) {
  const size_t digits = text.size() - (text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0);
  if (text.size() % 4 != 0) {
    fail("{}: precompiled_charsmap has {} characters, expected base64, a multiple of 4; fetch the file again", where,
         text.size());
  }
  std::string bytes;
  bytes.reserve(digits / 4 * 3 + 2);
  uint32_t bits = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int digit = base64_digit(text[i]);
    if (digit < 0) fail("{}: precompiled_charsmap is not base64 at character {}; fetch the file again", where, i);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 0) bytes += static_cast<char>(bits >> (6 - i % 4 * 2));
  }
  return bytes;
}

}  // namespace

Charsmap::Charsmap(std::vector<uint32_t> units, std::string replacements, std::string where)
    : units_(std::move(units)), replacements_(std::move(replacements)), where_(std::move(where)) {}

Charsmap Charsmap::from_bytes(std::string_view bytes, const std::string& where) {
  uint32_t array_bytes = 0;
  if (bytes.size() >= sizeof array_bytes) std::memcpy(&array_bytes, bytes.data(), sizeof array_bytes);
  if (array_bytes == 0 || array_bytes % 4 != 0 || array_bytes > bytes.size() - sizeof array_bytes) {
    fail(
        "{}: precompiled_charsmap has {} bytes and says that {} of them are its array, expected a multiple of 4; fetch "
        "the file again",
        where, bytes.size(), array_bytes);
  }
  std::vector<uint32_t> units(array_bytes / 4);
  std::memcpy(units.data(), bytes.data() + sizeof array_bytes, array_bytes);
  std::string replacements(bytes.substr(sizeof array_bytes + array_bytes));
  if (const size_t bad = find_invalid_utf8(replacements); bad != std::string::npos) {
    fail("{}: the replacements of precompiled_charsmap are not valid UTF-8 at byte {}; fetch the file again", where,
         bad);
  }
  return Charsmap(std::move(units), std::move(replacements), where);
}

Charsmap Charsmap::from_base64(std::string_view text, const std::string& where) {
  return from_bytes(base64_bytes(text, where), where);
}

// The replacement of the shortest beginning of `characters` that has one.
std::optional<std::string_view> Charsmap::find(std::string_view characters) const {
  const auto unit = [&](uint32_t at) {
    if (at < units_.size()) return Unit{units_[at]};
    fail("{}: precompiled_charsmap leads to unit {} of {}; fetch the file again", where_, at, units_.size());
  };
  uint32_t at = unit(0).offset();
  for (const char byte : characters) {
    if (byte == '\0') return std::nullopt;
    at ^= static_cast<uint8_t>(byte);
    const Unit next = unit(at);
    if (next.label() != static_cast<uint8_t>(byte)) return std::nullopt;
    at ^= next.offset();
    if (!next.has_value()) continue;
    const uint32_t begin = unit(at).value();
    if (begin >= replacements_.size() || (begin > 0 && (replacements_[begin] & 0xc0) == 0x80)) {
      fail(
          "{}: precompiled_charsmap leads to byte {} of its {} bytes of replacements, where none begins; fetch the "
          "file "
          "again",
          where_, begin, replacements_.size());
    }
    return std::string_view(replacements_.c_str() + begin);  // up to its zero byte, or the end
  }
  return std::nullopt;
}

void Charsmap::append_grapheme(std::string& result, std::string_view grapheme) const {
  if (grapheme.size() <= kLongestGrapheme) {
    if (const auto found = find(grapheme)) {
      result += *found;
      return;
    }
  }
  for (size_t begin = 0, length; begin < grapheme.size(); begin += length) {
    length = utf8_length(grapheme[begin]);
    const std::string_view character = grapheme.substr(begin, length);
    result += find(character).value_or(character);
  }
}

void Charsmap::apply(std::string& text, size_t most) const {
  std::string result;
  result.reserve(text.size());
  for_each_grapheme(text, [&](std::string_view grapheme) {
    if (result.size() <= most) append_grapheme(result, grapheme);
  });
  text = std::move(result);
}

}  // namespace spikescope
