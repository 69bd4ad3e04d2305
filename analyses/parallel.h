// Work on every prompt of a dump, on the machine's cores.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "base/parallel.h"

namespace spikescope {

/// Calls function(prompt) for 0 .. n_prompts - 1 from several threads. After a throw no further prompt is begun, and
/// the first exception is thrown again here. A DumpReader is for one thread at a time: guard it by a mutex.
template <class Function>
void for_each_prompt(int64_t n_prompts, const Function& function) {
  std::exception_ptr error;
  std::atomic<bool> failed = false;
  std::mutex error_mutex;
  parallel_for(n_prompts, [&](int64_t prompt) {
    if (failed) return;
    try {
      function(prompt);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      failed = true;
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace spikescope
