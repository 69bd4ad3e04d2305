#include "model/weight_stream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "families/checkpoint.h"
#include "fixtures.h"
#include "tiny_model.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;
using testing::TinyTensor;

/// The tiny model with its tensors in another order, in one file or several.
class Streamed : public ::testing::Test {
 protected:
  void SetUp() override { testing::write_tiny_model(folder_.path()); }

  void reorder(const std::function<bool(const TinyTensor&, const TinyTensor&)>& less) {
    std::vector<TinyTensor> tensors = testing::tiny_tensors();
    std::stable_sort(tensors.begin(), tensors.end(), less);
    testing::write_tensors(folder_ / "model.safetensors", tensors);
  }
  /// A pass through all blocks from `first` on: the hash, and the bytes read by then.
  void expect_hash(int first = 0) {
    const auto checkpoint = Checkpoint::open(folder_.path());
    WeightStream stream(checkpoint->weights(), true);
    for (int layer = first; layer < 3; ++layer) {
      stream.loading(layer);
      EXPECT_FALSE(checkpoint->weights().read(Role::w_q, layer).values.empty());
      stream.loaded(layer);
    }
    EXPECT_EQ(stream.sha256(), checkpoint->sha256());
    bytes_read_ = stream.bytes_read();
    file_bytes_ = 0;
    for (const fs::path& file : checkpoint->files()) file_bytes_ += static_cast<int64_t>(fs::file_size(file));
  }

  TemporaryFolder folder_;
  int64_t bytes_read_ = 0, file_bytes_ = 0;
};

TEST_F(Streamed, BlocksInOrderAreReadOnce) {
  expect_hash();
  EXPECT_EQ(bytes_read_, file_bytes_);
}

TEST_F(Streamed, AnyOrderGivesTheSameHash) {
  reorder([](const TinyTensor& a, const TinyTensor& b) { return a.name > b.name; });
  expect_hash();
  EXPECT_GE(bytes_read_, file_bytes_);
  EXPECT_LE(bytes_read_, 2 * file_bytes_);
  reorder([](const TinyTensor& a, const TinyTensor& b) { return a.shape.size() < b.shape.size(); });
  expect_hash();
}

TEST_F(Streamed, ShardsGiveTheHashOfAll) {
  const std::vector<TinyTensor> tensors = testing::tiny_tensors();
  const size_t half = tensors.size() / 2;
  testing::write_tensors(folder_ / "model-00001-of-00002.safetensors", {tensors.begin(), tensors.begin() + half});
  testing::write_tensors(folder_ / "model-00002-of-00002.safetensors", {tensors.begin() + half, tensors.end()});
  fs::remove(folder_ / "model.safetensors");
  Json index;
  for (size_t i = 0; i < tensors.size(); ++i)
    index["weight_map"][tensors[i].name] =
        i < half ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  testing::write_text(folder_ / "model.safetensors.index.json", index.dump());
  expect_hash();
  EXPECT_EQ(bytes_read_, file_bytes_);
}

TEST_F(Streamed, APassMayBeginLater) {
  expect_hash(2);
  EXPECT_EQ(bytes_read_, file_bytes_);
}

TEST_F(Streamed, EndsAtOnceWhenThePassFails) {
  const auto checkpoint = Checkpoint::open(folder_.path());
  { const WeightStream never_begun(checkpoint->weights(), true); }
  WeightStream stream(checkpoint->weights(), false);
  stream.loading(0);
}

TEST_F(Streamed, WithoutHashOnlyBlocksAreReadOneAhead) {
  const auto checkpoint = Checkpoint::open(folder_.path());
  const auto bytes_up_to = [&](int layer) {
    int64_t bytes = 0;
    for (const TensorInfo& tensor : checkpoint->tensors().tensors())
      for (int l = 0; l <= layer; ++l)
        if (tensor.name.find(fmt::format(".layers.{}.", l)) != std::string::npos)
          bytes += static_cast<int64_t>(tensor.bytes.size());
    return bytes;
  };
  WeightStream stream(checkpoint->weights(), false);
  for (int layer = 0; layer < 3; ++layer) {
    stream.loading(layer);
    const int64_t expected = bytes_up_to(layer + 1);
    while (stream.bytes_read() < expected) std::this_thread::yield();
    EXPECT_EQ(stream.bytes_read(), expected);
    stream.loaded(layer);
  }
}

}  // namespace
}  // namespace spikescope
