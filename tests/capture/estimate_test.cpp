#include "capture/estimate.h"

#include <gtest/gtest.h>

#include "../fixtures.h"
#include "../tiny_model.h"

namespace spikescope {
namespace {

TEST(Estimate, GrowsWithWhatIsCaptured) {
  const testing::TemporaryFolder folder;
  testing::write_tiny_model(folder.path());
  const auto checkpoint = Checkpoint::open(folder.path());
  const CaptureEstimate one = estimate_capture(*checkpoint, 1, 64);
  EXPECT_EQ(one.tokens, 64);
  EXPECT_EQ(one.dump_bytes, 64 * 16 * 3 * 4) << "tokens, width, layers, bytes of a float";
  EXPECT_GT(one.seconds, 0.0);
  EXPECT_GT(one.compute_rate, 0.0);
  EXPECT_GT(one.peak_bytes, 0);
  const CaptureEstimate many = estimate_capture(*checkpoint, 4096, 512);
  EXPECT_EQ(many.tokens, 4096 * 512);
  EXPECT_GT(many.seconds, 10 * one.seconds);
  EXPECT_GT(many.peak_bytes, one.peak_bytes + many.tokens * 16 * 4) << "the residual stream at least";
  EXPECT_GT(estimate_capture(*checkpoint, 1, 4096).peak_bytes, one.peak_bytes);
}

}  // namespace
}  // namespace spikescope
