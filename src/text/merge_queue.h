// The order in which a word's pairs are merged: lowest rank first, of equal ranks the leftmost.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace spikescope {

/// A pair that may be merged: its rule's rank, and the place of its left half in the word.
struct MergeCandidate {
  uint32_t rank, place;
  auto operator<=>(const MergeCandidate&) const = default;
};

/// A binary heap, for words of ordinary length.
class HeapMergeQueue {
 public:
  bool empty() const { return heap_.empty(); }
  const MergeCandidate& top() const { return heap_.top(); }
  void push(MergeCandidate candidate) { heap_.push(candidate); }
  /// Takes the first out; not when empty.
  MergeCandidate pop() {
    const MergeCandidate first = heap_.top();
    heap_.pop();
    return first;
  }

 private:
  std::priority_queue<MergeCandidate, std::vector<MergeCandidate>, std::greater<>> heap_;
};

/// The same order for words of millions of characters, where a heap would miss the cache at every level: a list of
/// places for each rank, sorted when its turn comes. What would break the order of a sorted list goes to a heap beside
/// it.
class BucketMergeQueue {
 public:
  explicit BucketMergeQueue(uint32_t highest_rank) : buckets_(size_t{highest_rank} + 1) {}
  bool empty() const { return ranks_.empty() && late_.empty(); }
  void push(MergeCandidate candidate);
  MergeCandidate pop();

 private:
  struct Bucket {
    std::vector<uint32_t> places;  // once sorted: from right to left, so that the leftmost is taken off the end
    bool sorted = false;
  };
  std::vector<Bucket> buckets_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;  // of the buckets that are not empty
  HeapMergeQueue late_;
};

}  // namespace spikescope
