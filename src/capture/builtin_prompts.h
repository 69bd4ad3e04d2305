#pragma once

#include <string_view>

namespace spikescope {

/// data/prompts.txt, a prompt a line: what a run uses when it is given none.
std::string_view builtin_prompts();

}  // namespace spikescope
