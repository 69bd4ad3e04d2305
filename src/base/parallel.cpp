#include "base/parallel.h"

#include <omp.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace spikescope {
namespace {

thread_local bool inside = false;
thread_local int own_index = 0;

/// While alive, the calling thread runs pieces. What OpenMP code it calls (Eigen, a BLAS) has no other thread for
/// itself.
class Inside {
 public:
  Inside() : openmp_threads_(omp_get_max_threads()) {
    inside = true;
    omp_set_num_threads(1);
  }
  ~Inside() {
    omp_set_num_threads(openmp_threads_);
    inside = false;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  int openmp_threads_;
};

/// One of a loop's exceptions.
class Failure {
 public:
  template <class Call>
  void keep_from(const Call& call) {
    try {
      call();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      exception_ = std::current_exception();
    }
  }
  void throw_again() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }

 private:
  std::mutex mutex_;
  std::exception_ptr exception_;
};

/// Waits until ready(): first awake, for loops follow each other at a distance of microseconds and a core that sleeps
/// takes its time to wake up; then letting others have the core, who may be what is waited for; in the end asleep, in
/// sleep().
template <class Ready, class Sleep>
void wait_until(const Ready& ready, const Sleep& sleep) {
  constexpr int kLooks = 256, kYieldsALook = 32;
  constexpr std::chrono::milliseconds kAwake(50);
  for (int look = 0; look < kLooks; ++look) {
    if (ready()) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  for (const auto end = std::chrono::steady_clock::now() + kAwake; std::chrono::steady_clock::now() < end;)
    for (int yield = 0; yield < kYieldsALook; ++yield) {
      if (ready()) return;
      sched_yield();
    }
  while (!ready()) sleep();
}

/// Threads that wait for a loop, and the loop there is, one at a time.
class Pool {
 public:
  /// Whether there was no other loop.
  bool run(int64_t count, int threads, void (*piece)(const void*, int64_t), const void* work, Failure& failure) {
    const std::unique_lock lock(one_loop_, std::try_to_lock);
    if (!lock) return false;
    for (; started_ + 1 < threads; ++started_) std::thread(&Pool::serve, this, started_ + 1).detach();
    piece_ = piece, work_ = work, count_ = count, failure_ = &failure;
    undone_.store(count, std::memory_order_relaxed);
    threads_.store(threads, std::memory_order_relaxed);
    ticket_.store(
        ((ticket_.load(std::memory_order_relaxed) >> kPieceBits) + 1) << kPieceBits | static_cast<uint64_t>(count),
        std::memory_order_release);
    ticket_.notify_all();
    {
      const Inside here;
      while (take_one()) continue;
    }
    wait_until([&] { return undone_.load(std::memory_order_acquire) == 0; },
               [&] {
                 if (const int64_t undone = undone_.load(std::memory_order_acquire)) undone_.wait(undone);
               });
    return true;
  }

 private:
  static constexpr int kPieceBits = 40;

  static uint64_t loop_of(uint64_t ticket) { return ticket >> kPieceBits; }
  static int64_t pieces_left(uint64_t ticket) {
    return static_cast<int64_t>(ticket & ((uint64_t{1} << kPieceBits) - 1));
  }

  /// Does a piece; false: there was none left.
  bool take_one() {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
      if (pieces_left(ticket) == 0) return false;
    } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire));
    // As long as this piece is not done the loop lives, and what it has set may be read.
    failure_->keep_from([&] { piece_(work_, count_ - pieces_left(ticket)); });
    if (undone_.fetch_sub(1, std::memory_order_acq_rel) == 1) undone_.notify_one();
    return true;
  }

  [[noreturn]] void serve(int index) {
    own_index = index;
    const Inside here;
    for (;;) {
      const uint64_t loop = loop_of(ticket_.load(std::memory_order_acquire));
      if (index < threads_.load(std::memory_order_relaxed))
        while (take_one()) continue;
      wait_until([&] { return loop_of(ticket_.load(std::memory_order_acquire)) != loop; },
                 [&] {
                   if (const uint64_t ticket = ticket_.load(std::memory_order_acquire); loop_of(ticket) == loop)
                     ticket_.wait(ticket);
                 });
    }
  }

  std::mutex one_loop_;
  int started_ = 0;  // threads beside the callers
  void (*piece_)(const void*, int64_t) = nullptr;
  const void* work_ = nullptr;
  Failure* failure_ = nullptr;
  int64_t count_ = 0;
  // The loop's number, and how many of its pieces nobody has taken. Who is not the caller can only take one, so as long
  // as there are some the loop is the one that the number says.
  alignas(64) std::atomic<uint64_t> ticket_ = 0;
  alignas(64) std::atomic<int64_t> undone_ = 0;
  std::atomic<int> threads_ = 1;
};

/// Never destroyed: its threads end with the process.
Pool& pool() {
  static Pool& kept = *new Pool;
  return kept;
}

/// CPU quota of the cgroup in cores; 0 when there is none.
double cgroup_cores() {
  std::ifstream unified("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (unified >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  return 0;
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count = std::getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : available_cores();
  return count;
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : omp_get_num_procs();
  if (const double quota = cgroup_cores(); quota > 0)
    cores = std::min(cores, std::max(1, static_cast<int>(std::lround(quota))));
  return std::max(1, cores);
}

int threads() { return thread_count(); }

void set_pool_threads(int count) {
  thread_count() = std::max(1, count);
  omp_set_num_threads(threads());
}

bool in_parallel() { return inside; }
int thread_index() { return own_index; }

void run_pieces(int64_t count, void (*piece)(const void* work, int64_t i), const void* work) {
  Failure failure;
  const auto run_here = [&] {
    for (int64_t i = 0; i < count; ++i) failure.keep_from([&] { piece(work, i); });
  };
  if (inside) {
    run_here();
  } else if (threads() == 1 || !pool().run(count, threads(), piece, work, failure)) {
    const Inside here;
    run_here();
  }
  failure.throw_again();
}

}  // namespace spikescope
