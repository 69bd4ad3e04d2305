#include "base/profile.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace spikescope {
namespace {

TEST(Profile, CountsPartsOfAllThreads) {
  { const Span before("before"); }
  start_profile();
  { const Span span("product", 3, 1e6); }
  { const Span span("product", 4, 1e6); }
  std::thread([] { const Span span("write"); }).join();
  const std::vector<ProfilePart> parts = stop_profile();
  { const Span after("after"); }
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].part, "product");
  EXPECT_EQ(parts[0].spans, 2);
  EXPECT_EQ(parts[0].flops, 2e6);
  EXPECT_GE(parts[0].seconds, 0.0);
  EXPECT_EQ(parts[1].part, "write");

  const auto events = nlohmann::json::parse(profile_trace())["traceEvents"];
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["name"], "product");
  EXPECT_EQ(events[0]["ph"], "X");
  EXPECT_EQ(events[0]["args"]["layer"], 3);
  EXPECT_NE(events[0]["tid"], events[2]["tid"]);
  EXPECT_FALSE(events[2].contains("args"));
}

TEST(Profile, StartsAnew) {
  start_profile();
  { const Span span("old"); }
  start_profile();
  { const Span span("new"); }
  const std::vector<ProfilePart> parts = stop_profile();
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].part, "new");
}

}  // namespace
}  // namespace spikescope
