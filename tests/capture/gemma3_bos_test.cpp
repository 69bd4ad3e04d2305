// Gemma 3 270M's <bos> stands beyond what float16 can hold: a dump in float16 refuses it.

#include <gmock/gmock.h>

#include <algorithm>

#include "../error_of.h"
#include "../fixtures.h"
#include "capture/capture.h"

namespace spikescope {
namespace {

TEST(Gemma3Bos, StandsBeyondFloat16) {
  SKIP_WITHOUT_GEMMA3();
  const auto checkpoint = Checkpoint::open(testing::gemma3_file());
  const Tokenizer tokenizer = checkpoint->tokenizer();
  EXPECT_TRUE(tokenizer.adds_bos());
  const std::vector<int64_t> ids = tokenizer.encode("Summer is warm. Winter is cold.\n");
  EXPECT_EQ(tokenizer.piece(ids.at(0)), "<bos>");
  DumpTokens tokens{ids, {0, static_cast<int64_t>(ids.size())}, std::vector<std::string>(ids.size()), {Json::object()}};
  const testing::TemporaryFolder folder;
  CaptureRequest request;
  request.points = {"blocks.*.resid_post"};
  capture(*checkpoint, tokens, {}, request, folder / "float32", {});
  const DumpReader dump(folder / "float32");
  const std::vector<float> late = dump.read({Point::resid_post, 14}, 0, tokens.size());
  const auto largest =
      std::max_element(late.begin(), late.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  EXPECT_GT(std::abs(*largest), 100'000.0f);
  EXPECT_LT(largest - late.begin(), checkpoint->architecture().d_model) << "at <bos>";

  request.storage.storage = "float16";
  EXPECT_THAT(testing::error_of([&] { capture(*checkpoint, tokens, {}, request, folder / "float16", {}); }),
              ::testing::AllOf(::testing::HasSubstr("65504"), ::testing::HasSubstr("float32")));
  EXPECT_FALSE(std::filesystem::exists(folder / "float16" / "dump"));
}

}  // namespace
}  // namespace spikescope
