#include "base/interrupt.h"

#include "base/fail.h"

namespace spikescope {

namespace {

volatile std::sig_atomic_t caught_signal = 0;
int guards = 0;

void remember(int signal) {
  if (caught_signal) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  caught_signal = signal;
}

}  // namespace

InterruptGuard::InterruptGuard() : outermost_(guards++ == 0) {
  if (!outermost_) return;
  caught_signal = 0;
  for (int i = 0; i < 3; ++i) {
    sigaction(kSignals[i], nullptr, &old_[i]);
    if (old_[i].sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = remember;
    sigaction(kSignals[i], &action, nullptr);
  }
}

InterruptGuard::~InterruptGuard() {
  --guards;
  if (!outermost_) return;
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &old_[i], nullptr);
  if (caught_signal) std::raise(caught_signal);
}

bool InterruptGuard::interrupted() const { return caught_signal != 0; }

void InterruptGuard::check() const {
  if (interrupted()) fail("interrupted; nothing was kept, run the command again");
}

}  // namespace spikescope
