// Loops over independent pieces of work, on threads that are kept.
#pragma once

#include <algorithm>
#include <cstdint>

namespace spikescope {

/// Threads of parallel_for, the caller's among them. Until set_pool_threads() is called: OMP_NUM_THREADS where it is
/// set, else available_cores().
int threads();
/// At least 1. OpenMP's own threads, of libraries that use it, become as many.
void set_pool_threads(int count);
/// Cores that this process may really use: affinity and the cgroup's quota.
int available_cores();

/// Whether the calling thread runs a piece of a parallel_for.
bool in_parallel();
/// Which of the threads() a piece runs on, 0 to threads() - 1; 0 outside of a parallel_for.
int thread_index();

/// What parallel_for does with pieces of any kind.
void run_pieces(int64_t count, void (*piece)(const void* work, int64_t i), const void* work);

/// Calls work(i) for i = 0 .. count - 1 on all threads, in no particular order; pieces are handed out as threads become
/// free. It ends when all pieces are done, and does not wait for threads that have none. When calls throw, one of their
/// exceptions goes on after all have ended. A single piece runs on the caller's thread as if there were no loop; a loop
/// inside of another, or beside another thread's, has its caller's thread for itself.
template <class Work>
void parallel_for(int64_t count, const Work& work) {
  if (count == 1) return work(int64_t{0});
  run_pieces(
      count, [](const void* of, int64_t i) { (*static_cast<const Work*>(of))(i); }, &work);
}

/// The same for pieces [first, last) of at most `size` that together are [0, count).
template <class Work>
void parallel_for_ranges(int64_t count, int64_t size, const Work& work) {
  parallel_for((count + size - 1) / size,
               [&](int64_t piece) { work(piece * size, std::min(count, (piece + 1) * size)); });
}

}  // namespace spikescope
