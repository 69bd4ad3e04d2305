#include "families/family.h"

#include <array>

namespace spikescope {

std::span<const Family> families() {
  static const std::array all = {kLlama};
  return all;
}

}  // namespace spikescope
