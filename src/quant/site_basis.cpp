#include "quant/site_basis.h"

#include <algorithm>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"

namespace spikescope {
namespace {

SPIKESCOPE_VECTORIZED
void add_times(float* values, const float* summands, float sign, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] += sign * summands[i];
}

SPIKESCOPE_VECTORIZED
void multiply_values(float* values, const float* factors, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factors[i];
}

SPIKESCOPE_VECTORIZED
void divide_values(float* values, const float* divisors, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] /= divisors[i];
}

/// Calls work(row, count) for all rows, which have to have as many values as the balance has channels.
template <class Work>
void for_balanced_rows(const TensorView& rows, const ChannelBalance& balance, const Work& work) {
  constexpr int64_t kRows = 32;
  const auto width = static_cast<int64_t>(balance.factors.size());
  if (rows.row_size() != width) fail("rows of {} values for a balance of {} channels", rows.row_size(), width);
  parallel_for((rows.rows() + kRows - 1) / kRows, [&](int64_t piece) {
    for (int64_t row = piece * kRows; row < std::min(rows.rows(), (piece + 1) * kRows); ++row)
      work(rows.row(row), width);
  });
}

}  // namespace

void SiteBasis::to(const TensorView& rows) const {
  if (balance_)
    for_balanced_rows(rows, *balance_, [&](float* row, int64_t count) {
      add_times(row, balance_->means.data(), -1.0f, count);
      multiply_values(row, balance_->factors.data(), count);
    });
  if (rotation_) rotation_->apply(rows);
}

void SiteBasis::from(const TensorView& rows) const {
  if (rotation_) rotation_->undo(rows);
  if (balance_)
    for_balanced_rows(rows, *balance_, [&](float* row, int64_t count) {
      divide_values(row, balance_->factors.data(), count);
      add_times(row, balance_->means.data(), 1.0f, count);
    });
}

void SiteBasis::to_with_means(const TensorView& rows) const {
  if (balance_)
    for_balanced_rows(rows, *balance_,
                      [&](float* row, int64_t count) { multiply_values(row, balance_->factors.data(), count); });
  if (rotation_) rotation_->apply(rows);
}

void SiteBasis::weights_to(const TensorView& rows) const {
  if (balance_)
    for_balanced_rows(rows, *balance_,
                      [&](float* row, int64_t count) { divide_values(row, balance_->factors.data(), count); });
  if (rotation_) rotation_->apply(rows);
}

void SiteBasis::weights_from(const TensorView& rows) const {
  if (rotation_) rotation_->undo(rows);
  if (balance_)
    for_balanced_rows(rows, *balance_,
                      [&](float* row, int64_t count) { multiply_values(row, balance_->factors.data(), count); });
}

}  // namespace spikescope
