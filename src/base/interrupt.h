// Ctrl-C while something has to be put in order first.
#pragma once

#include <csignal>

namespace spikescope {

/// While it lives, SIGINT, SIGTERM and SIGHUP only set a flag; a second one ends the program at once. Its destructor
/// puts the old handlers back and, if one of the signals came, raises it again: the program then ends as the signal
/// asks, after the destructors of everything made after this object. Signals that were ignored (nohup) stay ignored.
/// A guard within the life of another shares its flag and leaves the signal to it. For one thread.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether one of the signals has come.
  bool interrupted() const;
  /// Throws Error when one of the signals has come.
  void check() const;

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  const bool outermost_;
  struct sigaction old_[3];
};

}  // namespace spikescope
