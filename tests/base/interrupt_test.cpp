#include "base/interrupt.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace spikescope {
namespace {

TEST(InterruptGuardDeathTest, AnOuterGuardKeepsTheSignalUntilItsEnd) {
  const auto interrupted = [] {
    const InterruptGuard outer;
    {
      const InterruptGuard inner;
      std::raise(SIGINT);
      std::fprintf(stderr, "inner %d ", inner.interrupted());
    }
    std::fprintf(stderr, "outer %d", outer.interrupted());
  };
  EXPECT_EXIT(interrupted(), ::testing::KilledBySignal(SIGINT), "inner 1 outer 1");
}

TEST(InterruptGuardDeathTest, AGuardAloneRaisesTheSignalAgain) {
  EXPECT_EXIT(
      {
        {
          const InterruptGuard guard;
          std::raise(SIGINT);
        }
        std::exit(0);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace spikescope
