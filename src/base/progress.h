// The bar that long work shows on a terminal.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

namespace spikescope {

/// One line on standard error, redrawn in place: label, bar, per cent, rate, time left. It is there only when standard
/// error is a terminal and the work takes longer than half a second, and is wiped at the end, so that logs and short
/// commands stay clean. Calls may come from several threads.
class Progress {
 public:
  /// Shows nothing at all when `quiet`. `descriptor` is where the bar goes, standard error but for tests.
  explicit Progress(std::string label, bool quiet = false, int descriptor = 2);
  ~Progress() { done(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `fraction` of the work done, 0 to 1 (values outside are clamped, NaN counts as 0); `rate_text` stands beside the
  /// bar as it is: "1,204 tokens/s", "41.2 of 92.9 MB". Cheap: draws at most ten times a second.
  void update(double fraction, const std::string& rate_text = {});
  /// Wipes the bar until the next update, so that a line can be printed.
  void pause();
  /// Wipes the bar. Further updates do nothing.
  void done();

 private:
  using Clock = std::chrono::steady_clock;

  const std::string label_;
  const int descriptor_;
  const Clock::time_point began_ = Clock::now();
  std::mutex mutex_;
  Clock::time_point next_draw_;  ///< no drawing before
  bool is_on_ = false, is_drawn_ = false;
};

/// "7 s", "3 min 20 s", "2 h 5 min": a duration for people, in whole seconds.
std::string duration_text(double seconds);

/// The line that Progress draws, without escape codes, in at most `width` columns: the bar shrinks first, then the line
/// is cut. No time left is told below 1 per cent.
std::string progress_line(const std::string& label, double fraction, const std::string& rate_text,
                          double elapsed_seconds, int width);

}  // namespace spikescope
