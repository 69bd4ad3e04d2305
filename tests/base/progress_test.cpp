#include "base/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <thread>

namespace spikescope {
namespace {

using namespace std::chrono_literals;

/// A pseudo-terminal: what is written to terminal() can be read back.
class Terminal {
 public:
  Terminal() {
    master_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master_ < 0 || grantpt(master_) != 0 || unlockpt(master_) != 0) return;
    terminal_ = open(ptsname(master_), O_RDWR | O_NOCTTY);
    const winsize size = {24, 60, 0, 0};
    ioctl(terminal_, TIOCSWINSZ, &size);
  }
  ~Terminal() {
    if (terminal_ >= 0) close(terminal_);
    if (master_ >= 0) close(master_);
  }
  int terminal() const { return terminal_; }
  std::string shown() const {
    std::string text(4096, '\0');
    const ssize_t count = read(master_, text.data(), text.size());
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return text;
  }

 private:
  int master_ = -1, terminal_ = -1;
};

TEST(Progress, ShortWorkShowsNothing) {
  const Terminal terminal;
  if (terminal.terminal() < 0) GTEST_SKIP() << "no pseudo-terminals here";
  Progress progress("capture", false, terminal.terminal());
  progress.update(0.5, "fast");
  progress.done();
  EXPECT_EQ(terminal.shown(), "");
}

TEST(Progress, LongWorkShowsABarAndWipesIt) {
  const Terminal terminal;
  if (terminal.terminal() < 0) GTEST_SKIP() << "no pseudo-terminals here";
  Progress progress("capture", false, terminal.terminal());
  std::this_thread::sleep_for(550ms);
  progress.update(0.5, "1,204 tokens/s");
  const std::string shown = terminal.shown();
  EXPECT_TRUE(shown.starts_with("\r\033[Kcapture [")) << shown;
  EXPECT_NE(shown.find("50%  1,204 tokens/s  1 s left"), std::string::npos) << shown;
  progress.update(0.6, "too soon to draw again");
  EXPECT_EQ(terminal.shown(), "");
  progress.pause();
  EXPECT_EQ(terminal.shown(), "\r\033[K");
  std::this_thread::sleep_for(110ms);
  progress.update(0.7);
  EXPECT_NE(terminal.shown().find("70%"), std::string::npos) << "it comes back";
  progress.done();
  EXPECT_EQ(terminal.shown(), "\r\033[K");
  std::this_thread::sleep_for(110ms);
  progress.update(0.9, "after the end");
  EXPECT_EQ(terminal.shown(), "");
}

TEST(Progress, QuietShowsNothing) {
  const Terminal terminal;
  if (terminal.terminal() < 0) GTEST_SKIP() << "no pseudo-terminals here";
  Progress progress("capture", true, terminal.terminal());
  std::this_thread::sleep_for(550ms);
  progress.update(0.5);
  EXPECT_EQ(terminal.shown(), "");
}

TEST(Progress, AFileIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  {
    Progress progress("capture", false, ends[1]);
    std::this_thread::sleep_for(550ms);
    progress.update(0.5);
  }
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), -1);
  close(ends[0]);
  close(ends[1]);
}

TEST(ProgressLine, HasBarRateAndTimeLeft) {
  EXPECT_EQ(progress_line("fetch", 0.25, "10 of 40 MB", 2, 80),
            "fetch [#######-----------------------]  25%  10 of 40 MB  6 s left");
  EXPECT_EQ(progress_line("fetch", 1, "", 2, 80), "fetch [##############################] 100%");
}

TEST(ProgressLine, NoTimeLeftBeforeThereIsARate) {
  EXPECT_EQ(progress_line("fetch", 0, "", 2, 80), "fetch [------------------------------]   0%");
}

TEST(ProgressLine, FitsNarrowTerminals) {
  for (int width = 0; width < 80; ++width) {
    EXPECT_LE(progress_line("fetch", 0.5, "10 of 40 MB", 2, width).size(), static_cast<size_t>(width));
  }
  EXPECT_EQ(progress_line("fetch", 0.5, "10 of 40 MB", 2, 45), "fetch [####-----]  50%  10 of 40 MB  2 s left");
  EXPECT_EQ(progress_line("fetch", 0.5, "10 of 40 MB", 2, 36), "fetch  50%  10 of 40 MB  2 s left");
}

TEST(ProgressLine, OddFractionsAreClamped) {
  EXPECT_EQ(progress_line("x", -1, "", 1, 50), progress_line("x", 0, "", 1, 50));
  EXPECT_EQ(progress_line("x", 7, "", 1, 50), progress_line("x", 1, "", 1, 50));
  EXPECT_EQ(progress_line("x", std::nan(""), "", 1, 50), progress_line("x", 0, "", 1, 50));
}

TEST(DurationText, ReadsLikeAClock) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(0.2), "1 s");
  EXPECT_EQ(duration_text(59.5), "1 min 0 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(7500), "2 h 5 min");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "?");
}

}  // namespace
}  // namespace spikescope
