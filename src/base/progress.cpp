#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace spikescope {

namespace {

constexpr auto kPatience = std::chrono::milliseconds(500);
constexpr auto kBetweenDraws = std::chrono::milliseconds(100);
// To the first column, and wipe to the end of the line.
constexpr const char* kWipe = "\r\033[K";

int terminal_width(int descriptor) {
  winsize size = {};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_all(int descriptor, const std::string& text) {
  // A terminal that has gone away is no reason to end the work.
  [[maybe_unused]] const auto ignored = ::write(descriptor, text.data(), text.size());
}

}  // namespace

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e8) return "?";
  const auto whole = static_cast<long>(std::ceil(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string progress_line(const std::string& label, double fraction, const std::string& rate_text,
                          double elapsed_seconds, int width) {
  fraction = fraction > 0 ? std::min(fraction, 1.0) : 0.0;
  std::string tail = fmt::format(" {:3.0f}%", std::floor(100 * fraction));
  if (!rate_text.empty()) tail += "  " + rate_text;
  if (fraction >= 0.01 && fraction < 1) {
    tail += "  " + duration_text(elapsed_seconds * (1 - fraction) / fraction) + " left";
  }
  const int room = width - static_cast<int>(label.size() + tail.size()) - 3;
  std::string line = label;
  if (const int cells = std::min(room, 30); cells >= 5) {
    const int full = static_cast<int>(fraction * cells);
    line += " [" + std::string(full, '#') + std::string(cells - full, '-') + "]";
  }
  line += tail;
  if (static_cast<int>(line.size()) > width) line.resize(static_cast<size_t>(std::max(width, 0)));
  return line;
}

Progress::Progress(std::string label, bool quiet, int descriptor)
    : label_(std::move(label)),
      descriptor_(descriptor),
      next_draw_(began_ + kPatience),
      is_on_(!quiet && isatty(descriptor) == 1) {}

void Progress::update(double fraction, const std::string& rate_text) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (!is_on_ || now < next_draw_) return;
  next_draw_ = now + kBetweenDraws;
  is_drawn_ = true;
  const double elapsed = std::chrono::duration<double>(now - began_).count();
  // One column stays free: some terminals wrap when the last is written.
  write_all(descriptor_, kWipe + progress_line(label_, fraction, rate_text, elapsed, terminal_width(descriptor_) - 1));
}

void Progress::pause() {
  const std::lock_guard lock(mutex_);
  if (is_drawn_) write_all(descriptor_, kWipe);
  is_drawn_ = false;
}

void Progress::done() {
  const std::lock_guard lock(mutex_);
  if (is_drawn_) write_all(descriptor_, kWipe);
  is_on_ = is_drawn_ = false;
}

}  // namespace spikescope
