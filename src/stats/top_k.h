// The k best of many items.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace spikescope {

/// Keeps the k items that come first under `Before` (a strict weak order), sorted. For small k.
template <class T, class Before>
class TopK {
 public:
  explicit TopK(size_t k, Before before = {}) : k_(k), before_(before) {}

  void add(T item) {
    if (k_ == 0 || (full() && !before_(item, items_.back()))) return;
    if (full()) items_.pop_back();
    items_.insert(std::upper_bound(items_.begin(), items_.end(), item, before_), std::move(item));
  }

  bool full() const { return items_.size() >= k_; }
  /// Best first.
  const std::vector<T>& items() const { return items_; }

 private:
  size_t k_;
  Before before_;
  std::vector<T> items_;
};

}  // namespace spikescope
