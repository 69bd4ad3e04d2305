// GPT-2's spelling of bytes: each of the 256 bytes is written as one printable character (a space is U+0120), so that a
// vocabulary of any bytes is a vocabulary of readable strings.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace spikescope {

/// The characters that spell the bytes 0 to 255, as UTF-8.
const std::array<std::string, 256>& byte_level_characters();

/// Bytes spelled out.
std::string byte_level_spell(std::string_view bytes);

/// The bytes that `text` (well-formed UTF-8) spells; nothing when a character of it spells no byte.
std::optional<std::string> byte_level_bytes(std::string_view text);

}  // namespace spikescope
