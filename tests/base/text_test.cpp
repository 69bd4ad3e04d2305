#include "base/text.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/fail.h"
#include "base/nearest.h"
#include "base/version.h"

namespace spikescope {
namespace {

TEST(FormatBytes, UsesTheUnitThatFits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(int64_t{5} << 30), "5.0 GiB");
}

TEST(FormatCount, SeparatesThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(-999), "-999");
}

TEST(NearestName, FindsTyposAndNothingElse) {
  const std::vector<std::string> names = {"spikes", "sinks", "convergence"};
  EXPECT_EQ(nearest_name("spike", names), "spikes");
  EXPECT_EQ(nearest_name("convergance", names), "convergence");
  EXPECT_EQ(nearest_name("perplexity", names), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'x'), names), "");
}

TEST(Fail, ThrowsWhatItSays) {
  try {
    fail("{}: expected {}", "file", 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "file: expected 3");
  }
  EXPECT_THROW(fail_usage("no"), UsageError);
}

TEST(Version, IsThreeNumbers) { EXPECT_EQ(std::string(version()).find_first_not_of("0123456789."), std::string::npos); }

}  // namespace
}  // namespace spikescope
