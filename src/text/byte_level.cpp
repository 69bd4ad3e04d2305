#include "text/byte_level.h"

#include <cstdint>

#include "base/utf8.h"

namespace spikescope {
namespace {

// Bytes that are printable Latin-1 characters spell themselves; the others are numbered from U+0100 on.
constexpr bool spells_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}
constexpr int kOthers = 68;

struct Spelling {
  std::array<std::string, 256> characters;
  std::array<int16_t, 256 + kOthers> bytes;
  Spelling() {
    bytes.fill(-1);
    int others = 0;
    for (int byte = 0; byte < 256; ++byte) {
      const int character = spells_itself(byte) ? byte : 256 + others++;
      append_utf8(characters[byte], static_cast<char32_t>(character));
      bytes[character] = static_cast<int16_t>(byte);
    }
  }
};

const Spelling& spelling() {
  static const Spelling table;
  return table;
}

}  // namespace

const std::array<std::string, 256>& byte_level_characters() { return spelling().characters; }

std::string byte_level_spell(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) text += spelling().characters[static_cast<uint8_t>(byte)];
  return text;
}

std::optional<std::string> byte_level_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const char32_t character = next_character(text, offset);
    const int byte = character < spelling().bytes.size() ? spelling().bytes[character] : -1;
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace spikescope
