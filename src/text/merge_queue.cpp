#include "text/merge_queue.h"

#include <algorithm>

namespace spikescope {

void BucketMergeQueue::push(MergeCandidate candidate) {
  Bucket& bucket = buckets_[candidate.rank];
  if (bucket.places.empty()) {
    bucket.sorted = false;
    ranks_.push(candidate.rank);
  } else if (bucket.sorted && candidate.place > bucket.places.back()) {
    return late_.push(candidate);
  }
  bucket.places.push_back(candidate.place);
}

MergeCandidate BucketMergeQueue::pop() {
  if (ranks_.empty()) return late_.pop();
  Bucket& bucket = buckets_[ranks_.top()];
  if (!bucket.sorted) {
    std::sort(bucket.places.begin(), bucket.places.end(), std::greater<>());
    bucket.sorted = true;
  }
  const MergeCandidate first = {ranks_.top(), bucket.places.back()};
  if (!late_.empty() && late_.top() < first) return late_.pop();
  bucket.places.pop_back();
  if (bucket.places.empty()) {
    ranks_.pop();
    bucket.places = {};  // its memory is needed elsewhere
  }
  return first;
}

}  // namespace spikescope
