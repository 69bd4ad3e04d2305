// Loops over independent pieces of work.
#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>

namespace spikescope {

/// Calls work(i) for i = 0 .. count - 1 on all threads, in no particular order; pieces are handed out as threads become
/// free. When calls throw, one of their exceptions goes on after all have ended. A single piece runs on the caller's
/// thread, outside of any parallel region.
template <class Work>
void parallel_for(int64_t count, const Work& work) {
  if (count == 1) {
    work(int64_t{0});
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count; ++i) {
    try {
      work(i);
    } catch (...) {
#pragma omp critical(spikescope_parallel_for)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace spikescope
