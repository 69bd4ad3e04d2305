#include <array>

#include "families/family.h"

namespace spikescope {

std::span<const Family> families() {
  static const std::array all = {kLlama};
  return all;
}

}  // namespace spikescope
