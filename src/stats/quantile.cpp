#include "stats/quantile.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace spikescope {
namespace {

constexpr int kFineBits = 16;
constexpr uint32_t kSign = 0x80000000u;
constexpr size_t kCoarseBuckets = size_t{1} << (31 - kFineBits);
constexpr size_t kFineBuckets = size_t{1} << kFineBits;

uint32_t magnitude_bits(float value) { return std::bit_cast<uint32_t>(value) & ~kSign; }

/// Bucket that holds the value of the given rank; `rank` becomes the rank within it.
uint32_t find_bucket(const std::vector<uint64_t>& counts, uint64_t& rank) {
  uint32_t bucket = 0;
  while (bucket + 1 < counts.size() && rank >= counts[bucket]) rank -= counts[bucket++];
  return bucket;
}

}  // namespace

double lower_median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

MagnitudeMedian::MagnitudeMedian() : coarse_(kCoarseBuckets) {}

void MagnitudeMedian::count(std::span<const float> values) {
  for (float value : values) ++coarse_[magnitude_bits(value) >> kFineBits];
  total_ += values.size();
}

void MagnitudeMedian::merge(const MagnitudeMedian& other) {
  for (size_t i = 0; i < coarse_.size(); ++i) coarse_[i] += other.coarse_[i];
  total_ += other.total_;
}

void MagnitudeMedian::narrow() {
  rank_in_bucket_ = total_ == 0 ? 0 : (total_ - 1) / 2;
  bucket_ = find_bucket(coarse_, rank_in_bucket_);
  fine_.assign(kFineBuckets, 0);
}

void MagnitudeMedian::refine(std::span<const float> values) {
  for (float value : values) {
    const uint32_t bits = magnitude_bits(value);
    if (bits >> kFineBits == bucket_) ++fine_[bits & (kFineBuckets - 1)];
  }
}

float MagnitudeMedian::median() const {
  if (total_ == 0) return std::numeric_limits<float>::quiet_NaN();
  uint64_t rank = rank_in_bucket_;
  return std::bit_cast<float>((bucket_ << kFineBits) | find_bucket(fine_, rank));
}

}  // namespace spikescope
