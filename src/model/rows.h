// Small loops over rows of values.
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/gemm.h"

namespace spikescope {

/// to += from, `count` values.
inline void add(const float* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

/// Adds `row` to every row.
inline void add_to_rows(const float* row, MatrixView rows) {
  for (int64_t r = 0; r < rows.rows; ++r) add(row, rows.columns, rows.data + r * rows.stride);
}

/// Multiplies every row by `factors`, value by value.
inline void scale_rows(const float* factors, MatrixView rows) {
  for (int64_t r = 0; r < rows.rows; ++r) {
    float* row = rows.data + r * rows.stride;
#pragma omp simd
    for (int64_t i = 0; i < rows.columns; ++i) row[i] *= factors[i];
  }
}

/// Cuts all values to [-most, most].
inline void clip_rows(float most, MatrixView rows) {
  for (int64_t r = 0; r < rows.rows; ++r) {
    float* row = rows.data + r * rows.stride;
#pragma omp simd
    for (int64_t i = 0; i < rows.columns; ++i) row[i] = std::min(std::max(row[i], -most), most);
  }
}

}  // namespace spikescope
