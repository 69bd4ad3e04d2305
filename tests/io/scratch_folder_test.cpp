#include "io/scratch_folder.h"

#include <gmock/gmock.h>

#include "error_of.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

TEST(ScratchFolder, IsFreshAndGoneWithAllItHolds) {
  const testing::TemporaryFolder parent;
  std::filesystem::path path;
  {
    const ScratchFolder one(parent.path(), "a-"), two(parent.path(), "a-");
    path = one.path();
    EXPECT_NE(path, two.path());
    EXPECT_EQ(path.parent_path(), parent.path());
    EXPECT_TRUE(path.filename().string().starts_with("a-"));
    write_file(one / "file", "text");
  }
  EXPECT_TRUE(std::filesystem::is_empty(parent.path()));
}

TEST(ScratchFolder, NamesTheFolderThatCannotHoldIt) {
  EXPECT_THAT(testing::error_of([] { ScratchFolder("/no/such/parent"); }), ::testing::HasSubstr("/no/such/parent"));
}

}  // namespace
}  // namespace spikescope
