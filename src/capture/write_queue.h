// A thread that does queued work in order, with a bound on the memory that waits and the first error kept. Internal.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace spikescope {

class WriteQueue {
 public:
  /// `limit`: bytes that may wait before push() blocks. A single larger piece is taken when nothing else waits.
  explicit WriteQueue(int64_t limit);
  /// Drops what waits and joins the thread.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  /// Queues work that holds `bytes` of memory. Throws what earlier work threw: nothing runs after a failure.
  void push(int64_t bytes, std::function<void()> work);
  /// Waits until all is done; throws what the work threw.
  void drain();

 private:
  struct Item {
    int64_t bytes;
    std::function<void()> work;
  };
  void run();

  const int64_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;  // the first one is in work
  int64_t waiting_ = 0;     // bytes of all items
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace spikescope
