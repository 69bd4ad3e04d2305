// Checkpoints stream through memory: a thread of its own brings the next block's weights in while the present one
// computes, hashing the files as it passes over them, and blocks that are done are let go. So a checkpoint may be
// larger than memory, and in files whose order is that of the blocks every byte is read once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/sha256.h"
#include "model/weights.h"

namespace spikescope {

class WeightStream {
 public:
  /// `hash`: whether sha256() will be asked for. `weights` must outlive the stream.
  WeightStream(const ModelWeights& weights, bool hash);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  /// The pass is about to convert block `layer`: returns when its bytes are there. The block after it is wanted next.
  /// Layers only go up.
  void loading(int layer);
  /// Block `layer` is converted; its bytes may leave memory, which they do when the next block is wanted.
  void loaded(int layer);

  /// Hash of the weight files, one after the other, as Checkpoint::sha256(). Reads what no block has needed; call it
  /// once, after the pass. Throws Error when it cannot be computed.
  std::string sha256();
  /// Bytes of the files brought in so far, those that were brought in twice counted twice.
  int64_t bytes_read() const { return bytes_read_; }

 private:
  using Bytes = std::span<const std::byte>;
  /// A tensor's bytes, and the block that needs them.
  struct Segment {
    Bytes bytes;
    int layer;
    bool fetched = false;
  };
  struct File {
    Bytes bytes;
    std::vector<Segment> segments;  // as they lie in the file
  };

  void want(int layer);
  void run();
  void release();
  void fetch(int layer);
  bool hash_chunk(int layer);

  std::vector<File> files_;
  std::unique_ptr<Sha256> hash_;
  size_t hash_file_ = 0, hash_offset_ = 0;  // the first byte that is not hashed yet
  std::atomic<int64_t> bytes_read_ = 0;
  std::atomic<int> loaded_ = -1;
  int released_ = -1;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> wanted_ = -1, fetched_ = -1;  // blocks up to this one
  std::atomic<bool> stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace spikescope
