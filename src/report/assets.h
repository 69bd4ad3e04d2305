// The page's own style and scripts.
#pragma once

#include <string_view>

namespace spikescope {

extern const std::string_view page_style;
/// For <head>: counts errors, and sets the theme before the first paint.
extern const std::string_view head_script;
/// For the end of <body>: draws figures, switches themes.
extern const std::string_view body_script;

}  // namespace spikescope
