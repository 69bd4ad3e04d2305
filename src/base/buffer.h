// Memory for values that kernels read by whole vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace spikescope {

/// Floats at a cache line's boundary, in huge pages where the system gives them. Unlike a vector it does not clear
/// them: every value has to be written before it is read.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) { resize(size); }

  /// Room for `size` values; when it has to grow, what was there is lost. Throws std::bad_alloc.
  void resize(int64_t size);
  int64_t size() const { return size_; }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  float& operator[](int64_t i) { return data_[static_cast<size_t>(i)]; }
  float operator[](int64_t i) const { return data_[static_cast<size_t>(i)]; }

 private:
  struct Free {
    void operator()(float* data) const;
  };
  std::unique_ptr<float[], Free> data_;
  int64_t size_ = 0, capacity_ = 0;
};

}  // namespace spikescope
