// Pieces that stand for single bytes, "<0x00>" to "<0xFF>": what becomes of characters that no other piece has.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "text/vocabulary.h"

namespace spikescope {

class ByteFallback {
 public:
  /// Of a vocabulary that has none of these pieces, or some.
  explicit ByteFallback(const Vocabulary& vocabulary);

  /// Whether every byte of `text` has a piece.
  bool covers(std::string_view text) const {
    for (const char byte : text) {
      if (id(byte) < 0) return false;
    }
    return true;
  }
  /// -1 when the byte has no piece.
  int32_t id(char byte) const { return ids_[static_cast<uint8_t>(byte)]; }

 private:
  std::array<int32_t, 256> ids_;
};

}  // namespace spikescope
