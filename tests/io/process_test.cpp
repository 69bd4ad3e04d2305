#include "io/process.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "fixtures.h"

namespace spikescope {
namespace {

using namespace std::chrono_literals;

class Process : public ::testing::Test {
 protected:
  ProcessResult run(const std::vector<std::string>& argv,
                    const std::vector<std::pair<std::string, std::string>>& variables = {}) {
    return run_process(argv, folder_ / "log", {.variables = variables, .wait = {}});
  }
  const testing::TemporaryFolder folder_;
};

TEST_F(Process, GivesExitCodeAndBothOutputs) {
  const ProcessResult result = run({"sh", "-c", "echo out; echo err >&2; exit 3"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.output, "out\nerr\n");
}

TEST_F(Process, ArgumentsPassNoShell) { EXPECT_EQ(run({"echo", "$HOME; `date` *"}).output, "$HOME; `date` *\n"); }

TEST_F(Process, VariablesReplaceThoseOfTheEnvironment) {
  setenv("SPIKESCOPE_TEST_VARIABLE", "old", 1);
  EXPECT_EQ(run({"sh", "-c", "env | grep SPIKESCOPE_TEST_VARIABLE"}, {{"SPIKESCOPE_TEST_VARIABLE", "new"}}).output,
            "SPIKESCOPE_TEST_VARIABLE=new\n");
  unsetenv("SPIKESCOPE_TEST_VARIABLE");
}

TEST_F(Process, StandardInputIsEmpty) { EXPECT_EQ(run({"cat"}).code, 0); }

TEST_F(Process, KeepsTheEndOfLongOutput) {
  const ProcessResult result = run({"sh", "-c", "yes | head -n 100000; echo end"});
  EXPECT_EQ(result.output.size(), 65536u);
  EXPECT_TRUE(result.output.ends_with("y\nend\n"));
}

TEST_F(Process, MissingProgramAndSignals) {
  EXPECT_EQ(run({"spikescope-no-such-program"}).code, 127);
  EXPECT_EQ(run({"sh", "-c", "kill -TERM $$"}).code, 128 + 15);
}

TEST_F(Process, UnwritableLogIsAnError) { EXPECT_THROW(run_process({"true"}, folder_ / "missing/log"), Error); }

TEST_F(Process, AnExceptionWhileWaitingEndsTheProgramAndItsChildren) {
  const auto marker = folder_ / "marker";
  const auto began = std::chrono::steady_clock::now();
  int waits = 0;
  EXPECT_THROW(run_process({"sh", "-c", "(sleep 1; touch " + marker.string() + ") & wait"}, folder_ / "log",
                           {.variables = {},
                            .wait =
                                [&] {
                                  if (++waits > 3) throw Error("stop");
                                }}),
               Error);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 900ms);
  std::this_thread::sleep_for(1200ms);
  EXPECT_FALSE(std::filesystem::exists(marker));
}

}  // namespace
}  // namespace spikescope
