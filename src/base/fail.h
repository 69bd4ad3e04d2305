// Throwing an Error with a formatted message. Internal: installed headers include base/error.h only, and so need no
// fmt.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace spikescope {

/// Throws Error with the formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws UsageError with the formatted message.
template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace spikescope
