#include "capture/write_queue.h"

#include <utility>

#include "base/profile.h"

namespace spikescope {

WriteQueue::WriteQueue(int64_t limit) : limit_(limit), thread_([this] { run(); }) {}

WriteQueue::~WriteQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WriteQueue::push(int64_t bytes, std::function<void()> work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || items_.empty() || waiting_ + bytes <= limit_; });
  if (error_) std::rethrow_exception(error_);
  waiting_ += bytes;
  items_.push_back({bytes, std::move(work)});
  changed_.notify_all();
}

void WriteQueue::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || items_.empty(); });
  if (error_) std::rethrow_exception(error_);
}

void WriteQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || !items_.empty(); });
    if (stop_) return;
    std::function<void()> work = std::move(items_.front().work);
    lock.unlock();
    std::exception_ptr error;
    try {
      const Span span("write");
      work();
    } catch (...) {
      error = std::current_exception();
    }
    work = nullptr;  // frees its memory before it is counted as free
    lock.lock();
    waiting_ -= items_.front().bytes;
    items_.pop_front();
    if (error) {
      error_ = error;
      items_.clear();
      waiting_ = 0;
    }
    changed_.notify_all();
  }
}

}  // namespace spikescope
