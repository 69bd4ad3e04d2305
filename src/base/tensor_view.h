// A view of float32 values somebody else owns: rows, each contiguous, at a constant distance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spikescope {

/// Row-major; the first dimension may be strided, everything below it is contiguous.
struct TensorView {
  float* data = nullptr;
  std::vector<int64_t> shape;
  int64_t row_stride = 0;  ///< values from one index of the first dimension to the next

  int64_t rows() const { return shape.empty() ? 0 : shape[0]; }
  int64_t row_size() const {
    int64_t size = 1;
    for (size_t i = 1; i < shape.size(); ++i) size *= shape[i];
    return size;
  }
  float* row(int64_t index) const { return data + index * row_stride; }
};

}  // namespace spikescope
