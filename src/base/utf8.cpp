#include "base/utf8.h"

#include <cstdint>
#include <cstring>

namespace spikescope {
namespace {

// Allowed values of the second byte, by the lead byte (Unicode 15, table 3-7). length 0: no lead byte.
struct Lead {
  uint8_t length, second_low, second_high;
};

constexpr Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};  // below: overlong
  if (byte == 0xed) return {3, 0x80, 0x9f};  // above: surrogates
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};  // below: overlong
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};  // above: beyond U+10FFFF
  return {0, 0, 0};
}

struct Part {
  size_t length;
  bool whole;
};

// The character that `text` (not empty) begins with, or the longest beginning of one.
Part first_part(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const Lead lead = lead_of(byte(0));
  if (lead.length == 0) return {1, false};
  for (size_t i = 1; i < lead.length; ++i) {
    const uint8_t low = i == 1 ? lead.second_low : 0x80;
    const uint8_t high = i == 1 ? lead.second_high : 0xbf;
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {i, false};
  }
  return {lead.length, true};
}

// Length of the ASCII characters that `text` begins with, in steps of eight.
size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080u) break;
  }
  return i;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    offset += ascii_prefix(text.substr(offset));
    if (offset == text.size()) break;
    const Part part = first_part(text.substr(offset));
    if (!part.whole) return offset;
    offset += part.length;
  }
  return std::string_view::npos;
}

std::string utf8_lossy(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Part part = first_part(bytes);
    if (part.whole) {
      text += bytes.substr(0, part.length);
    } else {
      text += "\ufffd";
    }
    bytes.remove_prefix(part.length);
  }
  return text;
}

char32_t next_character(std::string_view text, size_t& offset) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[offset + i])); };
  const size_t length = utf8_length(text[offset]);
  char32_t character = 0;
  switch (length) {
    case 1:
      character = byte(0);
      break;
    case 2:
      character = (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
      break;
    case 3:
      character = (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
      break;
    default:
      character = (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  }
  offset += length;
  return character;
}

char32_t next_code_point(std::string_view text, size_t& position) {
  const Part part = first_part(text.substr(position));
  if (part.whole) return next_character(text, position);
  position += part.length;
  return kInvalidUtf8;
}

char32_t last_character(std::string_view text) {
  size_t offset = text.size() - 1;
  while ((text[offset] & 0xc0) == 0x80) --offset;
  return next_character(text, offset);
}

void append_utf8(std::string& text, char32_t character) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xc0 | character >> 6);
    put(0x80 | (character & 0x3f));
  } else if (character < 0x10000) {
    put(0xe0 | character >> 12);
    put(0x80 | (character >> 6 & 0x3f));
    put(0x80 | (character & 0x3f));
  } else {
    put(0xf0 | character >> 18);
    put(0x80 | (character >> 12 & 0x3f));
    put(0x80 | (character >> 6 & 0x3f));
    put(0x80 | (character & 0x3f));
  }
}

}  // namespace spikescope
