#include "base/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <mutex>

namespace spikescope {
namespace {

using Clock = std::chrono::steady_clock;

struct Event {
  const char* part;
  int64_t layer, begin, end;  // ns since the start
  double flops;
};

/// Written by its thread alone while a profile is recorded.
struct ThreadEvents {
  std::vector<Event> events;
};

std::atomic<bool> recording = false;
Clock::time_point start;
std::mutex mutex;  // of the list, not of what it points to
std::vector<std::unique_ptr<ThreadEvents>> threads_seen;

ThreadEvents& own_events() {
  thread_local ThreadEvents* own = [] {
    const std::lock_guard lock(mutex);
    return threads_seen.emplace_back(std::make_unique<ThreadEvents>()).get();
  }();
  return *own;
}

int64_t now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count(); }

}  // namespace

Span::Span(const char* part, int64_t layer, double flops)
    : part_(recording.load(std::memory_order_relaxed) ? part : nullptr), layer_(layer), flops_(flops) {
  if (part_) begin_ = now();
}

Span::~Span() {
  if (part_) own_events().events.push_back({part_, layer_, begin_, now(), flops_});
}

void start_profile() {
  const std::lock_guard lock(mutex);
  for (const auto& thread : threads_seen) thread->events.clear();
  start = Clock::now();
  recording = true;
}

std::vector<ProfilePart> stop_profile() {
  recording = false;
  const std::lock_guard lock(mutex);
  std::vector<ProfilePart> parts;
  for (const auto& thread : threads_seen)
    for (const Event& event : thread->events) {
      auto part = std::find_if(parts.begin(), parts.end(), [&](const ProfilePart& p) { return p.part == event.part; });
      if (part == parts.end()) part = parts.insert(parts.end(), {event.part});
      ++part->spans;
      part->seconds += static_cast<double>(event.end - event.begin) * 1e-9;
      part->flops += event.flops;
    }
  return parts;
}

std::string profile_trace() {
  const std::lock_guard lock(mutex);
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const char* separator = "\n";
  for (size_t thread = 0; thread < threads_seen.size(); ++thread)
    for (const Event& event : threads_seen[thread]->events) {
      fmt::format_to(std::back_inserter(out), R"({}{{"name":"{}","ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f})",
                     separator, event.part, thread, static_cast<double>(event.begin) * 1e-3,
                     static_cast<double>(event.end - event.begin) * 1e-3);
      if (event.layer >= 0) fmt::format_to(std::back_inserter(out), R"(,"args":{{"layer":{}}})", event.layer);
      out += "}";
      separator = ",\n";
    }
  return out + "\n]}\n";
}

}  // namespace spikescope
