#include "model/weight_stream.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"
#include "io/mapped_file.h"

namespace spikescope {
namespace {

constexpr int kEverything = std::numeric_limits<int>::max();
/// Bytes fetched, and hashed, at a time.
constexpr size_t kChunk = size_t{4} << 20;

}  // namespace

WeightStream::WeightStream(const ModelWeights& weights, bool hash) {
  std::vector<Segment> segments;
  for (int layer = 0; layer < weights.architecture().n_layers; ++layer)
    for (const WeightKey& key : weight_keys(weights.architecture(), layer))
      segments.push_back({weights.tensor(key).bytes, layer});
  for (const auto& file : weights.tensors().files()) {
    File& entry = files_.emplace_back(File{file->bytes(), {}});
    for (const Segment& segment : segments)
      if (segment.bytes.data() >= entry.bytes.data() && segment.bytes.data() < entry.bytes.data() + entry.bytes.size())
        entry.segments.push_back(segment);
    std::sort(entry.segments.begin(), entry.segments.end(),
              [](const Segment& a, const Segment& b) { return a.bytes.data() < b.bytes.data(); });
    // Several weights of a block may lie in one tensor.
    entry.segments.erase(
        std::unique(entry.segments.begin(), entry.segments.end(),
                    [](const Segment& a, const Segment& b) { return a.bytes.data() == b.bytes.data(); }),
        entry.segments.end());
  }
  if (hash) hash_ = std::make_unique<Sha256>();
  thread_ = std::thread([this] { run(); });
}

WeightStream::~WeightStream() {
  stop_ = true;
  want(kEverything);
  if (thread_.joinable()) thread_.join();
}

void WeightStream::want(int layer) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = layer;
  }
  changed_.notify_all();
}

void WeightStream::loading(int layer) {
  loaded_ = layer - 1;  // a pass may begin later than with block 0
  want(layer + 1);
  if (fetched_ >= layer) return;
  // Two readers in one file are slower than one: the kernel no longer sees that either goes straight on.
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return fetched_ >= layer || failure_; });
}

void WeightStream::loaded(int layer) { loaded_ = layer; }

/// Lets go of the blocks that are converted.
void WeightStream::release() {
  const int loaded = loaded_;
  if (released_ == loaded) return;
  for (const File& file : files_)
    for (const Segment& segment : file.segments)
      if (segment.layer > released_ && segment.layer <= loaded) MappedFile::release(segment.bytes);
  released_ = loaded;
}

std::string WeightStream::sha256() {
  want(kEverything);
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  return hash_->hex();
}

void WeightStream::run() try {
  while (!stop_) {
    const int wanted = wanted_;
    release();
    if (fetched_ < wanted && wanted != kEverything) {
      fetch(fetched_ + 1);
    } else if (!hash_ || !hash_chunk(wanted)) {
      if (wanted == kEverything) return;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return wanted_ != wanted; });
    }
  }
} catch (...) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  changed_.notify_all();
}

void WeightStream::fetch(int layer) {
  for (File& file : files_)
    for (Segment& segment : file.segments) {
      if (segment.layer != layer || segment.layer <= loaded_ || segment.fetched) continue;
      for (size_t done = 0; done < segment.bytes.size() && !stop_; done += kChunk)
        MappedFile::fetch(segment.bytes.subspan(done, std::min(kChunk, segment.bytes.size() - done)));
      segment.fetched = true;
      bytes_read_ += static_cast<int64_t>(segment.bytes.size());
    }
  {
    const std::lock_guard lock(mutex_);
    fetched_ = layer;
  }
  changed_.notify_all();
}

/// Hashes the next bytes, unless only a block after `layer` needs them: what is read too early would have to be read
/// again. Whether there were any.
bool WeightStream::hash_chunk(int layer) {
  while (hash_file_ < files_.size() && hash_offset_ == files_[hash_file_].bytes.size()) {
    ++hash_file_;
    hash_offset_ = 0;
  }
  if (hash_file_ == files_.size()) return false;
  const File& file = files_[hash_file_];
  // The tensor here, or the next one.
  const std::byte* here = file.bytes.data() + hash_offset_;
  const auto segment =
      std::upper_bound(file.segments.begin(), file.segments.end(), here,
                       [](const std::byte* at, const Segment& s) { return at < s.bytes.data() + s.bytes.size(); });
  const std::byte* end = file.bytes.data() + file.bytes.size();
  bool fetched = false, needed_later = false;
  if (segment != file.segments.end() && here < segment->bytes.data()) {
    end = segment->bytes.data();
  } else if (segment != file.segments.end()) {
    if (segment->layer > layer) return false;
    end = segment->bytes.data() + segment->bytes.size();
    fetched = segment->fetched;
    needed_later = segment->layer > loaded_ && layer != kEverything;
  }
  const Bytes chunk(here, std::min(kChunk, static_cast<size_t>(end - here)));
  // What was fetched for its block is still in the page cache, as a rule.
  bytes_read_ += static_cast<int64_t>(fetched ? chunk.size() - MappedFile::resident(chunk) : chunk.size());
  MappedFile::fetch(chunk);
  hash_->update(chunk);
  if (!needed_later) MappedFile::release(chunk);
  hash_offset_ += chunk.size();
  return true;
}

}  // namespace spikescope
