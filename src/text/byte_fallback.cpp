#include "text/byte_fallback.h"

#include <fmt/format.h>

namespace spikescope {

ByteFallback::ByteFallback(const Vocabulary& vocabulary) {
  for (size_t byte = 0; byte < ids_.size(); ++byte) {
    ids_[byte] = static_cast<int32_t>(vocabulary.find(fmt::format("<0x{:02X}>", byte)));
  }
}

}  // namespace spikescope
