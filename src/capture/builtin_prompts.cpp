#include "capture/builtin_prompts.h"

namespace spikescope {

extern const std::string_view embedded_prompts;  // data/prompts.txt

std::string_view builtin_prompts() { return embedded_prompts; }

}  // namespace spikescope
