#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/buffer.h"

namespace spikescope {
namespace {

TEST(ParallelFor, DoesEachPieceOnce) {
  for (const int64_t count : {0, 1, 2, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
    parallel_for(count, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
    for (const auto& times : seen) EXPECT_EQ(times, 1);
  }
}

TEST(ParallelFor, PassesAnExceptionOn) {
  for (const int64_t count : {1, 100}) {
    EXPECT_THROW(parallel_for(count,
                              [](int64_t i) {
                                if (i % 7 == 0) throw std::runtime_error("no");
                              }),
                 std::runtime_error);
  }
}

TEST(ParallelFor, SaysWhereAPieceRuns) {
  const int before = threads();
  set_pool_threads(3);
  EXPECT_EQ(threads(), 3);
  EXPECT_FALSE(in_parallel());
  std::vector<std::atomic<int>> running(3);
  parallel_for(1000, [&](int64_t) {
    EXPECT_TRUE(in_parallel());
    ASSERT_LT(thread_index(), 3);
    EXPECT_EQ(running[static_cast<size_t>(thread_index())]++, 0) << "two pieces at a time have one index";
    --running[static_cast<size_t>(thread_index())];
  });
  EXPECT_FALSE(in_parallel());
  EXPECT_EQ(thread_index(), 0);
  parallel_for(1, [](int64_t) { EXPECT_FALSE(in_parallel()) << "a single piece is no loop"; });
  set_pool_threads(before);
}

TEST(ParallelFor, UsesAsManyThreadsAsItIsTold) {
  const int before = threads();
  for (const int count : {4, 2, 1}) {
    set_pool_threads(count);
    // Each piece waits for as many as there are threads to be under way: with fewer it would never end.
    std::atomic<int> under_way = 0;
    parallel_for(count, [&](int64_t) {
      ++under_way;
      while (under_way < count) std::this_thread::yield();
    });
    std::mutex mutex;
    std::set<std::thread::id> seen;
    parallel_for(200, [&](int64_t) {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
    EXPECT_LE(static_cast<int>(seen.size()), count);
  }
  set_pool_threads(before);
}

TEST(ParallelFor, InsideOfAnotherRunsOnItsCallersThread) {
  std::atomic<int64_t> sum = 0;
  parallel_for(8, [&](int64_t i) {
    const auto thread = std::this_thread::get_id();
    const int index = thread_index();
    parallel_for(10, [&](int64_t j) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      EXPECT_EQ(thread_index(), index);
      sum += i * j;
    });
    EXPECT_TRUE(in_parallel());
  });
  EXPECT_EQ(sum, 28 * 45);
}

TEST(ParallelFor, ManyThreadsMayHaveLoopsOfTheirOwn) {
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int loop = 0; loop < 500; ++loop) {
        std::atomic<int64_t> own = 0;
        parallel_for(20, [&](int64_t i) { own += i; });
        EXPECT_EQ(own, 190);
        sum += own;
      }
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 500 * 190);
}

TEST(ParallelFor, ThreadsThatFellAsleepWakeUp) {
  const int before = threads();
  set_pool_threads(2);
  for (int loop = 0; loop < 3; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    std::atomic<int> under_way = 0;
    parallel_for(2, [&](int64_t) {
      ++under_way;
      while (under_way < 2) std::this_thread::yield();
    });
  }
  set_pool_threads(before);
}

TEST(ParallelFor, WaitsForASlowPiece) {
  const int before = threads();
  set_pool_threads(2);
  std::atomic<int> under_way = 0, done = 0;
  parallel_for(2, [&](int64_t) {
    ++under_way;
    while (under_way < 2) std::this_thread::yield();
    if (thread_index() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(150));
    ++done;
  });
  EXPECT_EQ(done, 2);
  set_pool_threads(before);
}

TEST(ParallelForRanges, CoversAllOnce) {
  for (const int64_t count : {0, 1, 63, 64, 65, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
    parallel_for_ranges(count, 64, [&](int64_t first, int64_t last) {
      EXPECT_LE(last - first, 64);
      for (int64_t i = first; i < last; ++i) ++seen[static_cast<size_t>(i)];
    });
    for (const auto& times : seen) EXPECT_EQ(times, 1);
  }
}

TEST(Buffer, IsAlignedAndKeepsItsMemory) {
  Buffer buffer(10);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
  buffer[9] = 3.0f;
  const float* before = buffer.data();
  buffer.resize(4);
  EXPECT_EQ(buffer.data(), before);
  EXPECT_EQ(buffer.size(), 4);
  buffer.resize(3 << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (2 << 20), 0u) << "large ones can lie in huge pages";
  buffer[(3 << 20) - 1] = 1.0f;
  EXPECT_EQ(Buffer().size(), 0);
}

}  // namespace
}  // namespace spikescope
