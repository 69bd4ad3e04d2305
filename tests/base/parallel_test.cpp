#include "base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
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
