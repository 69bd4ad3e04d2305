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
    for (const Role role : all_roles())
      if (const TensorInfo* tensor = is_per_block(role) ? weights.tensor(role, layer) : nullptr)
        segments.push_back({tensor->bytes, layer});
  for (const auto& file : weights.tensors().files()) {
    File& entry = files_.emplace_back(File{file->bytes(), {}});
    for (const Segment& segment : segments)
      if (segment.bytes.data() >= entry.bytes.data() && segment.bytes.data() < entry.bytes.data() + entry.bytes.size())
        entry.segments.push_back(segment);
    std::sort(entry.segments.begin(), entry.segments.end(),
              [](const Segment& a, const Segment& b) { return a.bytes.data() < b.bytes.data(); });
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
  changed_.notify_one();
}

void WeightStream::loading(int layer) {
  loaded_ = layer - 1;  // a pass may begin later than with block 0
  want(layer + 1);
}

void WeightStream::loaded(int layer) {
  loaded_ = layer;
  for (const File& file : files_)
    for (const Segment& segment : file.segments)
      if (segment.layer == layer) MappedFile::release(segment.bytes);
}

std::string WeightStream::sha256() {
  want(kEverything);
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  return hash_->hex();
}

void WeightStream::run() try {
  for (int layer = -1; layer != kEverything;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return wanted_ != layer; });
      layer = wanted_;
    }
    if (hash_) advance_hash(layer);
    if (layer == kEverything) continue;
    for (File& file : files_)
      for (Segment& segment : file.segments)
        if (segment.layer > loaded_ && segment.layer <= layer && !segment.fetched) fetch(segment);
  }
} catch (...) {
  failure_ = std::current_exception();
}

void WeightStream::fetch(Segment& segment) {
  for (size_t done = 0; done < segment.bytes.size() && !stop_; done += kChunk)
    MappedFile::fetch(segment.bytes.subspan(done, std::min(kChunk, segment.bytes.size() - done)));
  segment.fetched = true;
  bytes_read_ += static_cast<int64_t>(segment.bytes.size());
}

/// Hashes on, up to the first byte that only a block after `layer` needs: what is read too early would have to be read
/// again.
void WeightStream::advance_hash(int layer) {
  for (; hash_file_ < files_.size(); ++hash_file_, hash_offset_ = 0) {
    File& file = files_[hash_file_];
    while (hash_offset_ < file.bytes.size()) {
      // The tensor here, or the next one.
      const std::byte* here = file.bytes.data() + hash_offset_;
      const auto segment =
          std::upper_bound(file.segments.begin(), file.segments.end(), here,
                           [](const std::byte* at, const Segment& s) { return at < s.bytes.data() + s.bytes.size(); });
      size_t end = file.bytes.size();
      bool needed_later = false;
      if (segment != file.segments.end() && here < segment->bytes.data()) {
        end = static_cast<size_t>(segment->bytes.data() - file.bytes.data());
      } else if (segment != file.segments.end()) {
        if (segment->layer > layer) return;
        end = hash_offset_ + static_cast<size_t>(segment->bytes.data() + segment->bytes.size() - here);
        segment->fetched = true;
        needed_later = segment->layer > loaded_ && layer != kEverything;
      }
      while (hash_offset_ < end) {
        if (stop_) return;
        const size_t count = std::min(kChunk, end - hash_offset_), rest = file.bytes.size() - hash_offset_ - count;
        const Bytes chunk = file.bytes.subspan(hash_offset_, count);
        MappedFile::fetch(chunk);
        MappedFile::will_need(file.bytes.subspan(hash_offset_ + count, std::min(kChunk, rest)));
        hash_->update(chunk);
        if (!needed_later) MappedFile::release(chunk);
        hash_offset_ += count;
        bytes_read_ += static_cast<int64_t>(count);
      }
    }
  }
}

}  // namespace spikescope
