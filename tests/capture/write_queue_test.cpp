#include "capture/write_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <vector>

namespace spikescope {
namespace {

using std::chrono::milliseconds;

TEST(WriteQueue, DoesTheWorkInOrderOnOneOtherThread) {
  std::vector<int> done;
  std::thread::id thread;
  WriteQueue queue(100);
  for (int i = 0; i < 1000; ++i) {
    queue.push(7, [&, i] {
      done.push_back(i);
      thread = std::this_thread::get_id();
    });
  }
  queue.drain();
  ASSERT_EQ(done.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(WriteQueue, BlocksWhileTooMuchWaits) {
  WriteQueue queue(100);
  std::promise<void> gate;
  queue.push(60, [opened = gate.get_future().share()] { opened.wait(); });
  queue.push(40, [] {});
  std::atomic<bool> pushed = false;
  auto pusher = std::async(std::launch::async, [&] {
    queue.push(1, [] {});
    pushed = true;
  });
  EXPECT_EQ(pusher.wait_for(milliseconds(50)), std::future_status::timeout);
  EXPECT_FALSE(pushed);
  gate.set_value();
  pusher.get();
  queue.push(1'000'000, [] {});  // larger than the limit: taken when all else is done
  queue.drain();
}

TEST(WriteQueue, KeepsTheErrorAndRunsNothingAfterIt) {
  WriteQueue queue(100);
  std::atomic<int> ran = 0;
  queue.push(1, [] { throw std::runtime_error("disk full"); });
  EXPECT_THROW(queue.drain(), std::runtime_error);
  EXPECT_THROW(queue.push(1, [&] { ++ran; }), std::runtime_error);
  EXPECT_THROW(queue.drain(), std::runtime_error);
  EXPECT_EQ(ran, 0);
}

TEST(WriteQueue, ErrorWakesWhoWaitsForRoom) {
  WriteQueue queue(10);
  std::promise<void> gate;
  queue.push(10, [opened = gate.get_future().share()] {
    opened.wait();
    throw std::runtime_error("disk full");
  });
  auto pusher = std::async(std::launch::async, [&] { queue.push(10, [] {}); });
  EXPECT_EQ(pusher.wait_for(milliseconds(20)), std::future_status::timeout);
  gate.set_value();
  EXPECT_THROW(pusher.get(), std::runtime_error);
}

TEST(WriteQueue, DestructionDropsWhatWaits) {
  std::atomic<int> ran = 0;
  std::promise<void> started, gate;
  std::thread opener;
  {
    WriteQueue queue(1000);
    queue.push(1, [&, opened = gate.get_future().share()] {
      started.set_value();
      opened.wait();
      ++ran;
    });
    for (int i = 0; i < 10; ++i) queue.push(1, [&] { ++ran; });
    started.get_future().wait();
    opener = std::thread([&] {
      std::this_thread::sleep_for(milliseconds(30));
      gate.set_value();
    });
  }
  opener.join();
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace spikescope
