#include "quant/value_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace spikescope {
namespace {

constexpr uint32_t kMagnitudes = 1u << 15;  ///< bins of one sign; those of negative values follow the others

double bin_edge(uint32_t magnitude) { return std::bit_cast<float>(magnitude << 16); }

}  // namespace

void ValueHistogram::add(const float* values, int64_t count) {
  float lowest = lowest_, highest = highest_;
  for (int64_t i = 0; i < count; ++i) {
    ++counts_[std::bit_cast<uint32_t>(values[i]) >> 16];
    lowest = std::min(lowest, values[i]);
    highest = std::max(highest, values[i]);
  }
  lowest_ = lowest;
  highest_ = highest;
}

void ValueHistogram::add(const float* values, int64_t count, const uint32_t* weights) {
  for (int64_t i = 0; i < count; ++i) {
    counts_[std::bit_cast<uint32_t>(values[i]) >> 16] += weights[i];
    lowest_ = std::min(lowest_, values[i]);
    highest_ = std::max(highest_, values[i]);
  }
}

void ValueHistogram::merge(const ValueHistogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  lowest_ = std::min(lowest_, other.lowest_);
  highest_ = std::max(highest_, other.highest_);
}

void ValueHistogram::clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  lowest_ = highest_ = 0.0f;
}

int64_t ValueHistogram::count() const {
  return static_cast<int64_t>(std::accumulate(counts_.begin(), counts_.end(), uint64_t{0}));
}

double ValueHistogram::largest() const {
  return std::max(-static_cast<double>(lowest_), static_cast<double>(highest_));
}

double ValueHistogram::magnitude_quantile(double p) const {
  const auto all = static_cast<double>(count());
  if (all == 0.0) return std::numeric_limits<double>::quiet_NaN();
  double below = 0.0;
  for (uint32_t bin = 0; bin < kMagnitudes; ++bin) {
    const auto here = static_cast<double>(counts_[bin] + counts_[kMagnitudes + bin]);
    if (here == 0.0 || below + here < p * all) {
      below += here;
      continue;
    }
    const double share = (p * all - below) / here;
    return std::min(bin_edge(bin) + share * (bin_edge(bin + 1) - bin_edge(bin)), largest());
  }
  return largest();
}

ClipSearch::ClipSearch(const ValueHistogram& histogram)
    : count_(static_cast<double>(histogram.count())), lowest_(histogram.lowest()), highest_(histogram.highest()) {
  for (uint32_t bin = 0; bin < 2 * kMagnitudes; ++bin)
    if (const uint64_t count = histogram.counts_[bin]; count > 0) {
      const uint32_t magnitude = bin % kMagnitudes;
      sides_[bin / kMagnitudes].push_back({bin_edge(magnitude), bin_edge(magnitude + 1), static_cast<double>(count)});
    }
}

double ClipSearch::error(double step, double steps_below, double steps_above) const {
  double sum = 0.0;
  for (const bool negative : {false, true}) {
    const double most = negative ? steps_below : steps_above;
    // The integral of (u - nearest step)^2 from 0 to u, in steps: 1/12 for each step passed, and a cube from the last.
    const auto integral = [most](double u) {
      const double nearest = std::min(std::floor(u + 0.5), most), rest = u - nearest;
      return nearest / 12.0 + rest * rest * rest / 3.0;
    };
    for (const Bin& bin : sides_[negative]) {
      const double low = bin.low / step, high = bin.high / step;
      sum += bin.count * (integral(high) - integral(low)) / (high - low);
    }
  }
  return count_ > 0.0 ? sum * step * step / count_ : 0.0;
}

/// The r = 2^(-step / 8) with the least error(r) between two steps, by golden section.
template <class Error>
double ClipSearch::share_between(const Error& error, double low, double high) const {
  const auto share = [](double step) { return std::exp2(-step / 8.0); };
  constexpr double kGolden = 0.6180339887498949;
  double a = high - kGolden * (high - low), b = low + kGolden * (high - low);
  double at_a = error(share(a)), at_b = error(share(b));
  for (int i = 0; i < 12; ++i) {
    if (at_a < at_b) {
      high = b, b = a, at_b = at_a;
      a = high - kGolden * (high - low), at_a = error(share(a));
    } else {
      low = a, a = b, at_a = at_b;
      b = low + kGolden * (high - low), at_b = error(share(b));
    }
  }
  return share(at_a < at_b ? a : b);
}

/// The r in (0, 1] with the least error(r): up to twelve octaves in steps of an eighth, until the error has grown to
/// twice the least and an octave has passed since, then golden section beside the best.
template <class Error>
double ClipSearch::best_share(const Error& error) const {
  constexpr int kSteps = 96;
  const auto share = [](double step) { return std::exp2(-step / 8.0); };
  int best = 0;
  double least = error(1.0);
  for (int step = 1; step <= kSteps; ++step) {
    const double here = error(share(step));
    if (here < least) {
      least = here;
      best = step;
    } else if (here > 2.0 * least && step > best + 8) {
      break;
    }
  }
  const double refined = share_between(error, std::max(best - 1, 0), best + 1.0);
  return error(refined) < least ? refined : share(best);
}

ClipSearch::Range ClipSearch::symmetric(int bits) const {
  const double steps = std::exp2(bits - 1), largest = std::max(-lowest_, highest_);
  if (largest == 0.0) return {};
  const auto at = [&](double share) { return error(share * largest / (steps - 0.5), steps, steps - 1.0); };
  const double share = best_share(at);
  return {-share * largest, share * largest, at(share)};
}

ClipSearch::Range ClipSearch::asymmetric(int bits) const {
  const double most = std::exp2(bits) - 1.0, width = highest_ - lowest_;
  if (width == 0.0) return {};
  // Where clipping pays, the tails do not tell where the middle is: both ways of putting 0 are begun with.
  Range best{0.0, 0.0, std::numeric_limits<double>::infinity()};
  for (const double begin : {std::nearbyint(-lowest_ / width * most), (most + 1.0) / 2.0}) {
    double below = begin;
    const auto at = [&](double share) { return error(share * width / most, below, most - below); };
    double share = best_share(at);
    for (int turn = 0; turn < 4; ++turn) {
      const double place = best_place(share * width / most, below, most);
      if (place == below) break;
      below = place;
      const double exponent = -8.0 * std::log2(share), beside = share_between(at, exponent - 2.0, exponent + 2.0);
      if (at(beside) < at(share)) share = beside;
    }
    const double step = share * width / most, here = at(share);
    if (here < best.error) best = {-below * step, (most - below) * step, here};
  }
  return best;
}

/// The steps below 0, of `most` in all, with the least error beside `below`: jumps that get shorter.
double ClipSearch::best_place(double step, double below, double most) const {
  double least = error(step, below, most - below);
  for (double jump = std::max(std::floor(most / 8.0), 1.0); jump >= 1.0; jump = std::floor(jump / 2.0))
    for (const double direction : {-jump, jump})
      for (double place = below + direction; place >= 0.0 && place <= most; place += direction) {
        const double here = error(step, place, most - place);
        if (here >= least) break;
        least = here;
        below = place;
      }
  return below;
}

}  // namespace spikescope
