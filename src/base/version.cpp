#include "base/version.h"

namespace spikescope {

const char* version() { return SPIKESCOPE_VERSION; }

}  // namespace spikescope
